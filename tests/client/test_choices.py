"""What is greyed, why, and what is shown meanwhile."""

from dataclasses import replace

import pytest

from overpaint_client.choices import SETTINGS, Choice, protect_original
from overpaint_protocol.messages import Edges, EngineInfo, GenerationSettings, RecipeInfo

EMBEDDED = EngineInfo(
    id="embedded",
    name="Embedded",
    operations=("fill", "remove", "expand"),
    follows_prompt=False,
    follows_negative_prompt=False,
    needs_surroundings=True,
)
PAINTER = EngineInfo(
    id="painter",
    name="Painter",
    operations=("fill", "remove", "expand"),
    follows_prompt=True,
    follows_negative_prompt=True,
    needs_surroundings=False,
    defaults=GenerationSettings(steps=30, guidance=7.5, strength=1.0),
)
EDITOR = replace(
    PAINTER,
    id="editor",
    name="Editor",
    operations=("edit",),
    follows_negative_prompt=False,
    defaults=GenerationSettings(steps=8),
)
ENGINES = (EMBEDDED, PAINTER, EDITOR)
OPEN = RecipeInfo(id="open", name="Soft light")
FIXED = RecipeInfo(id="fixed", name="Ink", engine="editor")
BROKEN = RecipeInfo(id="broken", name="Gone", engine="gone", problem="Its model is gone. Install it again.")
RECIPES = (OPEN, FIXED, BROKEN)
ALL_SET = GenerationSettings(steps=5, guidance=3.0, strength=0.5)


def choose(engine=None, recipe=None, engines=ENGINES):
    return Choice(engines=engines, recipes=RECIPES, engine=engine, recipe=recipe)


def test_nothing_is_greyed_while_nothing_is_known():
    choice = Choice(engine="painter", recipe="ink")
    assert (
        choice.operation_reason("edit") == choice.prompt_reason("fill") == choice.avoid_reason("fill") == ""
    )
    assert [choice.setting_reason("fill", name) for name in SETTINGS] == ["", "", ""]
    assert choice.default_text("fill", "steps") == "default"
    assert choice.usable("fill", ALL_SET) == ALL_SET


def test_the_automatic_choice_is_judged_by_the_engine_a_prompt_goes_to():
    choice = choose()
    assert choice.engine_for("fill") is PAINTER
    assert choice.engine_for("edit") is EDITOR
    assert choice.prompt_reason("fill") == choice.avoid_reason("fill") == ""
    assert "Editor knows nothing to avoid" in choice.avoid_reason("edit")


def test_an_engine_that_follows_no_prompt_says_so():
    choice = choose("embedded")
    assert choice.prompt_reason("fill") == "Embedded does not follow prompts: it continues the surroundings."
    assert "nothing to avoid" in choice.avoid_reason("fill")


@pytest.mark.parametrize(
    ("choice", "operation", "reason"),
    [
        (choose(), "edit", ""),
        (choose("painter"), "edit", "The chosen engine cannot follow instructions. Choose another engine."),
        (choose("editor"), "fill", "The chosen engine cannot fill. Choose another engine."),
        (choose("painter", "fixed"), "expand", "The recipe's engine cannot expand. Choose another recipe."),
        (choose(recipe="broken"), "fill", BROKEN.problem),
        (
            choose(engines=(EMBEDDED, PAINTER)),
            "edit",
            "No installed engine follows instructions. Install a model",
        ),
    ],
)
def test_an_operation_that_cannot_be_asked_for_says_why(choice, operation, reason):
    assert choice.operation_reason(operation).startswith(reason)
    assert bool(choice.operation_reason(operation)) == bool(reason)


def test_a_recipe_that_fixes_its_engine_leaves_none_to_choose():
    choice = choose("painter", "fixed")
    assert choice.fixed_engine == "editor"
    assert choice.requested_engine is None
    assert choice.engine_reason == "The recipe “Ink” runs on this one."
    assert choice.engine_for("edit") is EDITOR
    open_choice = choose("painter", "open")
    assert (open_choice.fixed_engine, open_choice.requested_engine, open_choice.engine_reason) == (
        None,
        "painter",
        "",
    )


def test_settings_show_the_engines_default_or_why_there_is_none():
    painter, editor, embedded = choose("painter"), choose("editor"), choose("embedded")
    assert [painter.default_text("fill", name) for name in SETTINGS] == [
        "100 % (default)",
        "30 (default)",
        "7.5 (default)",
    ]
    assert painter.default("fill", "steps") == 30
    assert editor.setting_reason("edit", "strength") == "Editor always paints anew."
    assert editor.setting_reason("edit", "guidance") == "Editor has no guidance to set."
    assert embedded.setting_reason("fill", "steps") == "Embedded has no steps."
    assert [editor.default_text("edit", name) for name in SETTINGS] == ["–", "8 (default)", "–"]


def test_a_recipe_decides_about_settings_that_are_left_alone():
    choice = choose("painter", "open")
    assert [choice.default_text("fill", name) for name in SETTINGS] == ["by recipe"] * 3
    assert choose("editor", "open").default_text("edit", "strength") == "–"


def test_a_job_gets_no_setting_that_would_change_nothing():
    assert choose("painter").usable("fill", ALL_SET) == ALL_SET
    assert choose().usable("edit", ALL_SET) == GenerationSettings(steps=5)
    assert choose("embedded").usable("fill", ALL_SET) == GenerationSettings()


def test_a_protected_original_leaves_what_lies_inside_as_it_was_set():
    edges = Edges(grow_px=5, blend_px=None, feather_px=3, fill_holes=True)
    assert protect_original(edges) == Edges(grow_px=0, blend_px=0, feather_px=3, fill_holes=True)
