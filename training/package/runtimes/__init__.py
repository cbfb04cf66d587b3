"""What variants run on: ONNX Runtime, OpenVINO, torch. Only `on_torch` imports torch, and nothing imports it early."""
