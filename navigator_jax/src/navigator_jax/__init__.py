"""JAX for Navigator. Importing it does not import JAX; see `navigator_jax.plugin` for what it declares."""

__version__ = "0.1.0"
