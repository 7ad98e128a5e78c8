"""What `lobula.data` offers."""

from lobula.data.annotations import Annotations
from lobula.data.recording import Recording
from lobula.data.run_dir import RunDir, Stage, combined_digest, content_digest, listing_digest
from lobula.data.series import NeuronTimeSeries
from lobula.data.split import Block, Split, TargetKind
from lobula.data.state import NeuronState
from lobula.data.store import RecordingWriter
from lobula.data.streams import Streams, streams
from lobula.data.wiring import Wiring

__all__ = [
    "Annotations",
    "Block",
    "NeuronState",
    "NeuronTimeSeries",
    "Recording",
    "RecordingWriter",
    "RunDir",
    "Split",
    "Stage",
    "Streams",
    "TargetKind",
    "Wiring",
    "combined_digest",
    "content_digest",
    "listing_digest",
    "streams",
]
