"""Labels that look wrong: signals, their combination, what else is odd, and errors planted for measuring."""
