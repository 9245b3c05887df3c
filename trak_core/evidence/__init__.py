"""Is it true? Predicted outcomes against models that were really retrained."""
