"""The tests import tinygpt and workbench as the lessons do: from the folder notebooks/."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))
