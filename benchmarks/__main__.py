"""`python -m benchmarks [NAME ...]`: run the named benchmarks, or all of them."""

import importlib
import pkgutil
import sys
from pathlib import Path

NAMES = sorted(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if not m.name.startswith("_"))

for name in sys.argv[1:] or NAMES:
    if name not in NAMES:
        sys.exit(f"No benchmark is called '{name}'; there are {', '.join(NAMES)}.")
    print(f"== {name}")
    importlib.import_module(f"benchmarks.{name}").main()
