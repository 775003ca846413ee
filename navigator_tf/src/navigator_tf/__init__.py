"""TensorFlow for Navigator. Importing it does not import TensorFlow; see `navigator_tf.plugin` for what it declares."""

__version__ = "0.1.0"
