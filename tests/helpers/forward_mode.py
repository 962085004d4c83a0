"""Forward derivatives of torch in tests whose warnings are errors."""

import pytest

# Loading torch's forward mode warns of torch's own use of torch.jit, in the first test that does.
FORWARD = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
