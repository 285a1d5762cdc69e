"""What all hosts share, in small: `make prove-shared` does the same a thousand times over."""

import gc
from collections.abc import Iterator

import pytest

from .fleet import Fleet
from .shared import LATEST, absence, accident, revocations
from .store import FAULTS

# A TLS connection of redis-py to a primary that stands still is left with answers unread, and asyncio says so when it
# is collected: here, where it is ignored, and not in somebody else's test.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


async def test_a_token_of_one_host_is_good_on_all_and_a_revoked_one_on_none(fleet: Fleet) -> None:
    times = await revocations(fleet, 30)
    fleet.figures.append(
        f"revoked on every worker: median {sorted(times)[15] * 1000:.0f} ms, {max(times):.3f} s at most"
    )
    assert max(times) <= LATEST


@pytest.mark.parametrize("name", FAULTS)
async def test_whatever_befalls_the_primary_no_revocation_and_no_request_is_lost(name: str, fleet: Fleet) -> None:
    outage = await accident(fleet, name)
    fleet.figures.append(str(outage))
    assert outage.acknowledged and not outage.lost and not outage.failed


async def test_without_a_store_verified_callers_have_a_grace_and_revoked_ones_none(fleet: Fleet) -> None:
    away = await absence(fleet)
    fleet.figures.append(str(away))
    fleet.token = fleet.issue_token()
    assert away.refused == {503}
    assert away.revived == 0
