"""Whole networks from ONNX files, an engine a process: benchmarks/onnx_networks.py talks to worker.py."""
