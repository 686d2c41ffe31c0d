"""The files served beside each model's weights, from which every variant's are written."""
