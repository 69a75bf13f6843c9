"""A model as a file for other runtimes: ONNX, OpenVINO and torch.export, each checked against plain PyTorch."""
