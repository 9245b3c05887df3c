"""What the pages show, computed from a `Run`: all arithmetic of the explorer lies here, and none of its widgets."""
