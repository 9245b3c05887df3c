"""The pages of the explorer: layout and widgets only."""
