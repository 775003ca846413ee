"""Navigator: the fastest way to run a trained model that is still right."""
