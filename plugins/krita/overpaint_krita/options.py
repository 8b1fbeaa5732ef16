"""The docker's lower part: which recipe and engine, and how they go about it."""

from __future__ import annotations

from overpaint_client.choices import SETTINGS, Choice
from overpaint_protocol.errors import OverpaintError
from overpaint_protocol.messages import (
    MAX_GUIDANCE,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    MAX_STEPS,
    MAX_VARIANTS,
    EngineInfo,
    GenerationSettings,
    RecipeInfo,
)

from .edges import EdgesBox
from .fields import Entry, Foldable, OfferBox, OptionalNumber, settings_form
from .memory import keep, recall
from .qt import (
    QLineEdit,
    QPushButton,
    QRegularExpression,
    QRegularExpressionValidator,
    QSpinBox,
    QWidget,
    pyqtSignal,
)
from .tips import plain_tip

__all__ = ["OptionsBox"]


class OptionsBox(QWidget):
    """Recipe, engine and settings; what changes nothing with them is greyed and says why.

    ``chosen`` is emitted when somebody picks a recipe or an engine. ``edges`` and ``more`` hold what is seldom needed,
    widgets to be put wherever there is room.
    """

    chosen = pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("overpaint_options")
        self._engines: tuple[EngineInfo, ...] = ()
        self._recipes: tuple[RecipeInfo, ...] = ()
        self._build()
        self._judge()

    # ------------------------------------------------------------ what is set

    @property
    def choice(self) -> Choice:
        """The chosen recipe and engine among what there is."""
        return Choice(
            engines=self._engines,
            recipes=self._recipes,
            engine=self._engine.choice,
            recipe=self._recipe.choice,
        )

    @property
    def avoid(self) -> str:
        """What should not appear; empty where that would change nothing."""
        return self._avoid.text().strip() if self._avoid.isEnabled() else ""

    @property
    def variants(self) -> int:
        """How many results."""
        return self._variants.value()

    def settings(self, operation: str) -> GenerationSettings:
        """What is set and does something in ``operation``."""
        strength, steps, guidance = (self._numbers[name].number() for name in SETTINGS)
        settings = GenerationSettings(
            strength=None if strength is None else strength / 100,
            steps=None if steps is None else round(steps),
            guidance=guidance,
            detail=self.edges.detail(),
        )
        return self.choice.usable(operation, settings)

    def seed(self) -> int | None:
        """The seed, or None for a new one.

        Raises:
            OverpaintError: it is too large.
        """
        text = self._seed.text()
        if not text:
            return None
        if int(text) > MAX_SEED:
            raise OverpaintError(
                f"The seed can be up to {MAX_SEED}. Shorten it, or leave it empty for a new one."
            )
        return int(text)

    # ------------------------------------------------------------ what is shown

    def offer(self, engines: tuple[EngineInfo, ...], recipes: tuple[RecipeInfo, ...]) -> None:
        """Show what there is now."""
        if (engines, recipes) != (self._engines, self._recipes):
            self._engines, self._recipes = engines, recipes
            self._judge()

    def _judge(self) -> None:
        self._recipe.offer([Entry(r.id, r.name, r.description, r.problem) for r in self._recipes])
        self._show_row(self._recipe, bool(self._recipes))
        choice = self.choice
        self._engine.offer(
            [Entry(engine.id, engine.name) for engine in self._engines],
            choice.fixed_engine,
            choice.engine_reason,
        )
        reason = choice.avoid_reason("fill")
        self._avoid.setEnabled(not reason)
        self._avoid.setToolTip(plain_tip(reason or "What should not appear"))
        self._avoid.setPlaceholderText("–" if reason else "")
        for name, field in self._numbers.items():
            default = choice.default("fill", name)
            if name == "strength" and default is not None:
                default *= 100
            field.show_default(
                choice.default_text("fill", name), default, choice.setting_reason("fill", name)
            )

    def _show_row(self, field: QWidget, is_shown: bool) -> None:
        field.setVisible(is_shown)
        label = self._form.labelForField(field)
        if label is not None:
            label.setVisible(is_shown)

    def _show_reset(self, *_: object) -> None:
        self._reset.setEnabled(any(field.number() is not None for field in self._numbers.values()))

    # ------------------------------------------------------------ building

    def _build(self) -> None:
        self._recipe = self._offer_box("recipe", "None", "Settings somebody gave a name, all at once")
        self._engine = self._offer_box("engine", "Automatic", "What computes the result")
        self._numbers = {
            "strength": OptionalNumber(
                0, 100, 5, "How far from what is there: 0 % keeps it, 100 % paints anew", suffix=" %"
            ),
            "steps": OptionalNumber(1, MAX_STEPS, 1, "How often the picture is refined: more takes longer"),
            "guidance": OptionalNumber(
                0, MAX_GUIDANCE, 0.5, "How closely the prompt is followed", decimals=1
            ),
        }
        for name, field in self._numbers.items():
            field.setObjectName(f"overpaint_{name}")
            field.valueChanged.connect(self._show_reset)
        self._avoid = QLineEdit()
        self._avoid.setObjectName("overpaint_avoid")
        self._avoid.setMaxLength(MAX_PROMPT_CHARS)
        self._variants = QSpinBox()
        self._variants.setObjectName("overpaint_variants")
        self._variants.setRange(1, MAX_VARIANTS)
        self._variants.setToolTip(
            "How many results to make; several come in one group, the first one visible"
        )
        self._form = settings_form(self)
        for label, field in (
            ("Recipe", self._recipe),
            ("Engine", self._engine),
            ("Strength", self._numbers["strength"]),
            ("Avoid", self._avoid),
            ("Variants", self._variants),
        ):
            self._form.addRow(label, field)
        self.edges = EdgesBox()
        self.more = self._build_more()
        self._show_reset()

    def _build_more(self) -> QWidget:
        self._seed = QLineEdit()
        self._seed.setObjectName("overpaint_seed")
        self._seed.setPlaceholderText("new each time")
        self._seed.setToolTip("The same number, picture and settings give the same result again")
        self._seed.setValidator(QRegularExpressionValidator(QRegularExpression("[0-9]{0,10}"), self._seed))
        self._reset = QPushButton("Reset")
        self._reset.setObjectName("overpaint_reset")
        self._reset.setToolTip("Leave strength, steps and guidance to the engine or the recipe")
        self._reset.clicked.connect(lambda *_: [field.reset() for field in self._numbers.values()])
        content = QWidget()
        form = settings_form(content)
        for label, field in (
            ("Steps", self._numbers["steps"]),
            ("Guidance", self._numbers["guidance"]),
            ("Seed", self._seed),
            ("", self._reset),
        ):
            form.addRow(label, field)
        more = Foldable(
            "More settings",
            content,
            recall("more") == "open",
            lambda is_open: keep("more", "open" if is_open else ""),
        )
        more.line.setObjectName("overpaint_more")
        return more

    def _offer_box(self, name: str, none: str, tip: str) -> OfferBox:
        box = OfferBox(none, tip, recall(name))
        box.setObjectName(f"overpaint_{name}")
        box.chosen.connect(lambda chosen: keep(name, chosen))
        box.chosen.connect(self._on_chosen)
        return box

    def _on_chosen(self, _id: str) -> None:
        self._judge()
        self.chosen.emit()
