"""One example of every message, with its payload: what the golden vectors hold and the fuzzers mutate."""

from dataclasses import replace

from overpaint_protocol.errors import Retry
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import (
    AckJob,
    BrokenEngine,
    CancelJob,
    Capabilities,
    DaemonReport,
    DaemonStopping,
    DeviceReport,
    Edges,
    Edit,
    EncodedImage,
    EnergyReport,
    EngineInfo,
    ErrorInfo,
    ErrorReply,
    Expand,
    FailureReport,
    FetchJob,
    Fill,
    GenerationSettings,
    Hello,
    InspectDaemon,
    JobAccepted,
    JobAcked,
    JobCancelled,
    JobDone,
    JobFailed,
    JobPreview,
    JobProgress,
    JobReport,
    JobState,
    JobSummary,
    JobVariant,
    Limits,
    LoadedReport,
    LoraInfo,
    LoraWeight,
    Ping,
    Pong,
    RecipeInfo,
    Remove,
    SessionReport,
    ShutDown,
    SubmitJob,
    Welcome,
    WorkerReport,
)
from overpaint_protocol.pixels import ColorSpace, ImageHeader, PixelFormat

ENGINE = EngineInfo(
    id="embedded",
    name="Embedded",
    operations=("fill", "remove", "expand"),
    follows_prompt=False,
    follows_negative_prompt=False,
    needs_surroundings=True,
)
PAINTER = EngineInfo(
    id="sdxl",
    name="Stable Diffusion XL",
    operations=("fill", "remove", "expand"),
    follows_prompt=True,
    follows_negative_prompt=True,
    needs_surroundings=False,
    defaults=GenerationSettings(steps=25, guidance=7.0, strength=0.9),
    loras=(LoraInfo(id="watercolor", name="Watercolor"),),
)
RECIPE = RecipeInfo(
    id="aquarelle", name="Aquarelle", description="Wet paint on paper.", engine="sdxl", problem=""
)
BROKEN = BrokenEngine(id="diffusion", reason="torch is not installed.")
ERROR = ErrorInfo(
    code="engine.lost",
    message="The engine stopped. Try again.",
    detail="exit status -9",
    retry=Retry.LATER,
    action="",
)
BUSY = ErrorInfo(
    code="capacity.busy",
    message="32 jobs are waiting already. Try again in a minute.",
    retry=Retry.LATER,
    retry_after_s=12.5,
)
CONTEXT = Rect(2, 1, 3, 2)
IMAGE = ImageHeader(size=Size(3, 2), format=PixelFormat.BGRA8, color=ColorSpace.SRGB, frames=(0, 1))
IMAGE_PAYLOAD = (bytes(range(12)), bytes(range(12, 24)))
MASK = ImageHeader(size=Size(3, 2), format=PixelFormat.GRAY8, frames=(2,))
MASK_PAYLOAD = (bytes((0, 1, 128, 255, 0, 255)),)

EXAMPLES: dict[str, tuple[object, tuple[bytes, ...]]] = {
    "hello": (
        Hello(
            session_id="0123456789abcdef",
            client_version="0.1.0",
            editor="krita",
            editor_version="5.2.9",
            oldest_minor=0,
            newest_minor=0,
            features=(),
            preview_bytes=32768,
        ),
        (),
    ),
    "job.submit": (
        SubmitJob(
            job_id="job-1",
            document_id="doc-1",
            operation=Fill(
                prompt="a red door",
                negative_prompt="people",
                settings=GenerationSettings(
                    steps=20,
                    guidance=7.5,
                    strength=0.75,
                    detail=1.5,
                    loras=(LoraWeight(id="watercolor", weight=0.5),),
                ),
            ),
            engine="embedded",
            recipe="aquarelle",
            variants=2,
            seed=7,
            canvas=Size(8, 6),
            context=CONTEXT,
            image=IMAGE,
            mask=MASK,
            edges=Edges(grow_px=4, blend_px=12, feather_px=0, fill_holes=True),
            slot="live",
        ),
        (*IMAGE_PAYLOAD, *MASK_PAYLOAD),
    ),
    "job.submit-profile": (
        SubmitJob(
            job_id="job-4",
            document_id="doc-1",
            operation=Fill(),
            canvas=Size(8, 6),
            context=CONTEXT,
            image=replace(IMAGE, color=ColorSpace.ICC, profile=len(IMAGE_PAYLOAD) + len(MASK_PAYLOAD)),
            mask=MASK,
        ),
        (*IMAGE_PAYLOAD, *MASK_PAYLOAD, b"a profile"),
    ),
    "job.submit-remove": (
        SubmitJob(
            job_id="job-2",
            document_id="doc-1",
            operation=Remove(),
            canvas=Size(8, 6),
            context=CONTEXT,
            image=IMAGE,
            mask=MASK,
            is_batch=True,
        ),
        (*IMAGE_PAYLOAD, *MASK_PAYLOAD),
    ),
    "job.submit-expand": (
        SubmitJob(
            job_id="job-3",
            document_id="doc-1",
            operation=Expand(margins=Margins(left=1, top=0, right=2, bottom=0)),
            canvas=Size(3, 2),
            context=Rect(-1, 0, 6, 2),
            image=IMAGE,
        ),
        IMAGE_PAYLOAD,
    ),
    "job.submit-edit": (
        SubmitJob(
            job_id="job-4",
            document_id="doc-1",
            operation=Edit(prompt="make it night"),
            canvas=Size(8, 6),
            context=CONTEXT,
            image=IMAGE,
            mask=MASK,
        ),
        (*IMAGE_PAYLOAD, *MASK_PAYLOAD),
    ),
    "job.cancel": (CancelJob(job_id="job-1"), ()),
    "job.fetch": (FetchJob(job_id="job-1"), ()),
    "job.ack": (AckJob(job_id="job-1"), ()),
    "ping": (Ping(nonce=3), ()),
    "daemon.inspect": (InspectDaemon(), ()),
    "daemon.shutdown": (ShutDown(), ()),
    "welcome": (
        Welcome(
            daemon_id="d1",
            product_version="0.1.0",
            minor=0,
            features=(),
            limits=Limits(
                max_image_pixels=67108864,
                max_message_bytes=1073741824,
                max_frame_bytes=8388608,
                max_jobs=32,
                max_kept_bytes=2147483648,
            ),
            engines=(ENGINE, PAINTER),
            broken_engines=(BROKEN,),
            recipes=(RECIPE,),
            jobs=(
                JobSummary(
                    job_id="job-0", document_id="doc-1", operation="remove", state=JobState.DONE, variants=1
                ),
            ),
        ),
        (),
    ),
    "job.accepted": (JobAccepted(job_id="job-1", position=1), ()),
    "job.progress": (
        JobProgress(
            job_id="job-1",
            state=JobState.RUNNING,
            stage="filling",
            fraction=0.25,
            position=0,
            time_left_s=4.5,
        ),
        (),
    ),
    "job.preview": (
        JobPreview(
            job_id="job-1", variant=0, image=EncodedImage(media_type="image/jpeg", size=Size(3, 2), frame=0)
        ),
        (b"\xff\xd8\xff\xd9",),
    ),
    "job.variant": (
        JobVariant(job_id="job-1", variant=0, seed=7, engine="embedded", target=CONTEXT, image=IMAGE),
        IMAGE_PAYLOAD,
    ),
    "job.done": (
        JobDone(
            job_id="job-1",
            variants=2,
            engine="embedded",
            timings_ms={"decode": 1.5, "fill": 800.0},
            notes=("A speck was left out.",),
        ),
        (),
    ),
    "job.failed": (JobFailed(job_id="job-1", error=ERROR), ()),
    "job.cancelled": (JobCancelled(job_id="job-1", state=JobState.CANCELLED), ()),
    "job.cancelled-replaced": (
        JobCancelled(job_id="job-1", state=JobState.CANCELLED, replaced_by="job-2"),
        (),
    ),
    "job.acked": (JobAcked(job_id="job-1"), ()),
    "pong": (Pong(nonce=3), ()),
    "daemon.report": (
        DaemonReport(
            daemon_id="d1",
            product_version="0.1.0",
            pid=4242,
            uptime_s=12.5,
            worker="idle",
            workers=(
                WorkerReport(
                    state="idle",
                    restarts=2,
                    device=DeviceReport(
                        device="cuda",
                        place="cuda:0",
                        free_bytes=9_000_000_000,
                        total_bytes=12_000_000_000,
                        resident_bytes=800_000_000,
                        loaded=(
                            LoadedReport(engine="flux", weight_bytes=2_000_000_000, idle_s=30.0),
                            LoadedReport(engine="embedded", weight_bytes=0),
                        ),
                    ),
                ),
                WorkerReport(state="starting", restarts=0),
            ),
            engines=(ENGINE,),
            broken_engines=(BROKEN,),
            sessions=(SessionReport(editor="krita 5.2.9", connected=True, queued=1, running=1, kept=0),),
            jobs=(
                JobReport(
                    editor="krita 5.2.9",
                    operation="fill",
                    engine="embedded",
                    state=JobState.RUNNING,
                    position=0,
                    stage="painting",
                    fraction=0.5,
                    time_left_s=2.5,
                ),
                JobReport(
                    editor="krita 5.2.9", operation="edit", engine="", state=JobState.QUEUED, position=1
                ),
            ),
            kept_bytes=4096,
            max_kept_bytes=6442450944,
            idle_unload_s=600.0,
            failures=(
                FailureReport(ago_s=60.0, operation="fill", engine="flux", code="capacity.out_of_memory"),
            ),
            energy=(EnergyReport(source="nvml", joules=1500.0, watts=120.5),),
        ),
        (),
    ),
    "daemon.capabilities": (
        Capabilities(engines=(ENGINE, PAINTER), broken_engines=(BROKEN,), recipes=(RECIPE,)),
        (),
    ),
    "daemon.stopping": (DaemonStopping(), ()),
    "error": (ErrorReply(error=ERROR, job_id="job-1"), ()),
    "error-busy": (ErrorReply(error=BUSY, job_id="job-1"), ()),
}
"""By name: the message's type, with a suffix where one type has several examples."""


def type_of(name: str) -> str:
    """The message type an example's name stands for."""
    return name.split("-")[0]
