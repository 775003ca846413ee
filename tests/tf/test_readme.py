"""The example of the package's own page runs: the environment that runs all other pages is without TensorFlow."""

import re
import subprocess
import sys
from pathlib import Path

SHORT = "import navigator_core.playoff as _q; _q.LIMIT, _q.MOST = 10.0, 3\n"  # as in tests/docs
README = Path(__file__).parents[2] / "navigator_tf" / "README.md"


def test_the_example_of_the_readme_runs(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)
    assert blocks
    command = [sys.executable, "-c", SHORT + "".join(blocks)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:].decode()
