import sys
from pathlib import Path

# The tests of heads share tests/models/builders.py.
sys.path.insert(0, str(Path(__file__).parent))
