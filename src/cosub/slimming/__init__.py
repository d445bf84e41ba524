"""From a trained network to a smaller one: which residual layers to keep, measured on images that training saw."""
