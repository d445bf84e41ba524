"""Semantic segmentation: UperNet on an attached backbone, as in Table 13."""
