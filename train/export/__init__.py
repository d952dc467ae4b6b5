"""Forms in which a trained model leaves the workspace, and the proof that it answers alike in each."""

FORMATS = ("adapter", "merged", "gguf", "openvino", "mlflow")
