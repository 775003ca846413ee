"""OpenVINO for Navigator. `plugin` says what there is; the other modules run in workers, where openvino is imported."""

__version__ = "0.1.0"
