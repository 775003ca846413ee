"""Conversions from one plugin's format to another's keep the contract of conversions."""

import torch

from navigator_core import testing


class TestTorchToOnnx(testing.ConversionContract):
    module = "navigator_torch.plugin"
    conversion = "torch->onnx[dynamo]"

    def source(self, folder):
        torch.manual_seed(0)
        layers = torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
        return torch.nn.Sequential(*layers), torch.randn(2, 4)


class TestTorchToExampleByWayOfOnnx(TestTorchToOnnx):
    module = "navigator_example.plugin"
    conversion = "torch->onnx[dynamo]->example"

    def source(self, folder):
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)), torch.randn(2, 4)
