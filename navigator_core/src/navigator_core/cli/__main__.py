"""``python -m navigator_core.cli`` is ``navigator``."""

from navigator_core.cli import main

main()
