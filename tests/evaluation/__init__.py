"""What is said of models and samples is true as often as it claims."""
