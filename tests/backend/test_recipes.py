"""Recipes: what they make of a job, the sentence for every mistake, and the folder they are in."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest

from overpaint_backend.models.catalog import CATALOG
from overpaint_backend.recipes.offer import RecipeBook, infos, problem_of
from overpaint_backend.recipes.recipe import Recipe, apply
from overpaint_backend.recipes.recipe_file import MAX_FILE_BYTES, RecipeError, compose, parse, read
from overpaint_backend.recipes.store import MAX_RECIPES, RecipeStore
from overpaint_protocol import framing
from overpaint_protocol.errors import RequestError, UnknownRecipe
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import (
    MAX_PROMPT_CHARS,
    Capabilities,
    Edit,
    EngineInfo,
    Expand,
    Fill,
    GenerationSettings,
    LoraInfo,
    LoraWeight,
    Remove,
    SubmitJob,
)
from overpaint_protocol.pixels import ImageHeader, PixelFormat

SIZE = Size(4, 4)
INK = Recipe(
    id="ink",
    name="Ink drawing",
    description="Black ink on “white” paper.\tQuick.",
    engine="painter",
    prompt="ink drawing of {prompt}, fine lines",
    negative_prompt="color",
    settings=GenerationSettings(
        steps=30,
        guidance=6.5,
        strength=0.75,
        detail=1.5,
        loras=(LoraWeight(id="pen", weight=0.5), LoraWeight(id="paper", weight=-1)),
    ),
)
LEAST = 'format = 1\nname = "Ink"\n'


def engine(id, *loras):
    return EngineInfo(
        id=id,
        name=id.title(),
        operations=("fill",),
        follows_prompt=True,
        follows_negative_prompt=True,
        needs_surroundings=False,
        loras=tuple(LoraInfo(id=lora, name=lora) for lora in loras),
    )


def ask(operation, engine=None):
    return SubmitJob(
        job_id="j",
        document_id="d",
        operation=operation,
        engine=engine,
        recipe="ink",
        canvas=SIZE,
        context=Rect.from_size(SIZE),
        image=ImageHeader(size=SIZE, format=PixelFormat.RGBA8),
        mask=None if isinstance(operation, Expand) else ImageHeader(size=SIZE, format=PixelFormat.GRAY8),
    )


# ---------------------------------------------------------------- what it makes of a job


@pytest.mark.parametrize(
    "operation",
    [
        Fill(prompt="a door", negative_prompt="people"),
        Expand(margins=Margins(left=1), prompt="a door", negative_prompt="people"),
        Edit(prompt="a door", negative_prompt="people"),
    ],
    ids=["fill", "expand", "edit"],
)
def test_a_recipe_fills_in_what_a_job_leaves_open(operation):
    request = ask(operation)
    assert apply(INK, request) == dataclasses.replace(
        request,
        engine="painter",
        recipe=None,
        operation=dataclasses.replace(
            operation,
            prompt="ink drawing of a door, fine lines",
            negative_prompt="people, color",
            settings=INK.settings,
        ),
    )


def test_what_the_job_says_wins():
    loras = (LoraWeight(id="glow", weight=2), LoraWeight(id="pen", weight=1))
    mine = GenerationSettings(steps=4, guidance=0, strength=0, detail=0.5, loras=loras)
    applied = apply(INK, ask(Fill(prompt="a door", settings=mine), engine="other"))
    assert applied.engine == "other"
    settings = applied.operation.settings
    assert (settings.steps, settings.guidance, settings.strength, settings.detail) == (4, 0, 0, 0.5)
    assert {lora.id: lora.weight for lora in settings.loras} == {"pen": 1, "paper": -1, "glow": 2}


def test_a_remove_gets_the_engine_alone():
    request = ask(Remove())
    assert apply(INK, request) == dataclasses.replace(request, engine="painter", recipe=None)


def test_what_neither_says_stays_open():
    request = ask(Fill(prompt="a door"))
    assert apply(Recipe(id="plain", name="Plain"), request) == dataclasses.replace(request, recipe=None)


@pytest.mark.parametrize(
    ("template", "prompt", "words"),
    [
        ("{prompt}", "a door", "a door"),
        ("{prompt}", "", ""),
        ("ink of {prompt}, fine", " a door ", "ink of a door, fine"),
        ("{prompt} in ink, {prompt}", "a door", "a door in ink, a door"),
        ("in ink", "a door", "a door, in ink"),
        ("in ink", "  ", "in ink"),
        ("ink, {prompt}, fine lines", "", "ink, fine lines"),
        ("ink, {prompt}, {prompt}, fine lines", "", "ink, fine lines"),
        ("{prompt}, ink", "", "ink"),
        ("ink, {prompt}", "", "ink"),
        ("Ink: {prompt}. Fine lines.", "", "Ink. Fine lines."),
        ("{prompt}. Fine lines.", "", "Fine lines."),
        ("ink  {prompt}  drawing", "", "ink drawing"),
        ("write {this} {prompt}", "“{prompt}”, or “a , b”", "write {this} “{prompt}”, or “a , b”"),
    ],
)
def test_words_go_where_the_template_says(template, prompt, words):
    assert (
        apply(Recipe(id="r", name="R", prompt=template), ask(Fill(prompt=prompt))).operation.prompt == words
    )


@pytest.mark.parametrize(
    ("mine", "recipes", "joined"),
    [("", "", ""), ("people", "", "people"), ("", "color", "color"), ("people ", " color", "people, color")],
)
def test_negative_prompts_are_joined(mine, recipes, joined):
    recipe = Recipe(id="r", name="R", negative_prompt=recipes)
    assert apply(recipe, ask(Fill(negative_prompt=mine))).operation.negative_prompt == joined


def test_the_words_together_are_bounded():
    recipe = Recipe(id="r", name="Ink", prompt="ink of {prompt}", negative_prompt="color")
    most = "x" * (MAX_PROMPT_CHARS - len("ink of "))
    assert len(apply(recipe, ask(Fill(prompt=most))).operation.prompt) == MAX_PROMPT_CHARS
    with pytest.raises(RequestError, match=r"recipe “Ink” the prompt has 8001 .* shorten it by 1\."):
        apply(recipe, ask(Fill(prompt=most + "x")))
    with pytest.raises(RequestError, match="the negative prompt has"):
        apply(recipe, ask(Fill(negative_prompt="x" * MAX_PROMPT_CHARS)))


def test_the_loras_together_are_bounded():
    loras = tuple(LoraWeight(id=f"l{number}") for number in range(8))
    assert (
        len(
            apply(
                Recipe(id="r", name="R"), ask(Fill(settings=GenerationSettings(loras=loras)))
            ).operation.settings.loras
        )
        == 8
    )
    with pytest.raises(RequestError, match="Up to 8 LoRAs"):
        apply(INK, ask(Fill(settings=GenerationSettings(loras=loras))))


# ---------------------------------------------------------------- the file


def mistakes_in(text):
    with pytest.raises(RecipeError) as error:
        parse(text, "ink")
    assert error.value.message == " ".join(error.value.mistakes)
    return list(error.value.mistakes)


@pytest.mark.parametrize(
    "recipe",
    [
        INK,
        Recipe(id="ink", name="Ink"),
        Recipe(id="ink", name='"\\ \x7f\x01 墨 🖋', prompt="two\nlines {prompt}"),
        dataclasses.replace(INK, settings=GenerationSettings(steps=1, guidance=30, strength=0)),
    ],
)
def test_what_is_composed_is_read_again(recipe):
    assert parse(compose(recipe), "ink") == recipe


def test_everything_that_compose_comments_out_is_a_recipe_once_the_marks_are_gone():
    text = compose(Recipe(id="ink", name="Ink"))
    lines = [line[1:] if line.startswith("#") and line[1:2] != " " else line for line in text.splitlines()]
    recipe = parse("\n".join(lines), "ink")
    assert recipe.engine in CATALOG
    assert recipe.settings.loras and recipe.negative_prompt and recipe.description


def test_the_example_of_the_manual_is_a_recipe():
    manual = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", manual, re.DOTALL)
    assert len(parse(example, "ink-drawing").settings.loras) == 2


def test_a_file_needs_little():
    assert parse(LEAST, "ink") == Recipe(id="ink", name="Ink")
    assert parse(LEAST + '[[loras]]\nid = "pen"', "ink").settings.loras == (LoraWeight(id="pen"),)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("format = 1\nname = ", r"ink\.toml is not in the TOML format: Invalid value .*Correct it there"),
        ("format = 1\nname = Ink", r"line 2.*quotation marks"),
        (LEAST + 'name = "Twice"', "not in the TOML format"),
        (LEAST + f"steps = {'1' * 5000}", "not in the TOML format: Exceeds the limit"),
        ("x = " + "[" * 5000, "not in the TOML format: it is nested too deeply"),
        ('name = "Ink"', r"“format” is missing\. Begin the file with the line: format = 1"),
        ('format = 2\nname = "Ink"', "“format” is not 1"),
        ('format = true\nname = "Ink"', "“format” is not 1"),
        ("format = 1", r'ink\.toml: “name” is missing\. Add a line such as: name = "Ink drawing"'),
        ('format = 1\nname = " "', "“name” is empty"),
        ("format = 1\nname = 5", r'“name” is a text in quotation marks, such as name = "…"'),
        (f'format = 1\nname = "{"x" * 81}"', "“name” has 81 characters; shorten it to 80"),
        (LEAST + f'description = "{"x" * 301}"', "“description” has 301"),
        (LEAST + f'engine = "{"x" * 65}"', "“engine” has 65"),
        (LEAST + f'prompt = "{"x" * 8001}"', "“prompt” has 8001"),
        (LEAST + 'prompt = "ink of {promt}"', r"“prompt” holds {promt}, which stands for nothing\. .*{prompt}"),
        (LEAST + 'promt = "ink"', r"“promt” is no key here\. Did you mean “prompt”\?"),
        (LEAST + "sampler = 5", r"“sampler” is no key here\. There are: format, name, "),
        (LEAST + f"{'x' * 900} = 5", f"“{'x' * 80}…{'x' * 40}” is no key here"),
        (LEAST + f"[{'x' * 900}]\n" * 2, r"TOML format: Cannot declare .{,80}…x+.{,20}\(at line 4"),
        (LEAST + 'steps = "30"', r"“steps” is a number without quotation marks"),
        (LEAST + "steps = true", "“steps” is a number"),
        (LEAST + "steps = 2.5", "“steps” is a whole number"),
        (LEAST + "steps = 0", "“steps” is out of its range. Ask for 1 to 150 steps, not 0"),
        (LEAST + f"steps = 0x{'f' * 9000}", "“steps” is too large"),
        (LEAST + "guidance = 31", "“guidance” is out of its range.* 0 to 30"),
        (LEAST + "guidance = nan", "“guidance” is too large"),
        (LEAST + f"guidance = 1{'0' * 400}", "“guidance” is too large"),
        (LEAST + "strength = -0.1", "“strength” is out of its range"),
        (LEAST + 'loras = ["pen"]', r"“loras” is written as \[\[loras\]\]"),
        (LEAST + "[loras]\nid = 'pen'", r"“loras” is written as \[\[loras\]\]"),
        (LEAST + "[[loras]]\nweight = 1", r"\[\[loras\]\] number 1: “id” is missing"),
        (LEAST + "[[loras]]\nid = 'pen'\n[[loras]]\nid = 'a b'", r"\[\[loras\]\] number 2: The id of a LoRA must be"),
        (LEAST + "[[loras]]\nid = 'pen'\nweight = 5", r"number 1: The weight of a LoRA lies in -4 to 4"),
        (LEAST + "[[loras]]\nid = 'pen'\nsteps = 5", r"“steps” is no key here\. Write it above the first \[\[loras\]\]"),
        (LEAST + "[[loras]]\nid = 'pen'\n" * 2, "“loras” cannot be mixed like this. Each LoRA can be named once"),
        (LEAST + "".join(f"[[loras]]\nid = 'l{n}'\n" for n in range(9)), "Up to 8 LoRAs"),
    ],
)  # fmt: skip
def test_each_mistake_is_a_sentence(text, mistake):
    (found,) = mistakes_in(text)
    assert found.startswith("ink.toml")
    assert found.endswith((".", "?", "1", '"', '"ink"'))
    assert re.search(mistake, found)


def test_all_mistakes_are_named_at_once():
    found = mistakes_in(LEAST + 'steps = 0\npromt = "x"\n[[loras]]\nid = 5\nweight = "much"')
    assert len(found) == 4
    nameless = mistakes_in(LEAST + "[[loras]]\nweight = 5")
    assert ["is missing" in nameless[0], "lies in -4 to 4" in nameless[1]] == [True, True]


@pytest.mark.parametrize(
    ("name", "content", "mistake"),
    [
        ("ink drawing.toml", LEAST.encode(), "“ink drawing.toml” is no name for a recipe"),
        (f"{'x' * 65}.toml", LEAST.encode(), "64 at most"),
        ("ink.txt", LEAST.encode(), "is no name for a recipe"),
        ("ink.toml", LEAST.encode() + b"#" * MAX_FILE_BYTES, "more than 64 kB"),
        ("ink.toml", LEAST.encode("utf-16"), "not in UTF-8"),
        ("ink.toml", None, "There is no file ink.toml. Check its name"),
    ],
)
def test_a_file_that_cannot_be_one_is_told(tmp_path, name, content, mistake):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=mistake):
        read(path)


def test_a_file_of_a_windows_editor_is_read(tmp_path):
    path = tmp_path / "Ink-1.toml"
    path.write_bytes(b"\xef\xbb\xbf" + LEAST.replace("\n", "\r\n").encode())
    assert read(path) == Recipe(id="Ink-1", name="Ink")


# ---------------------------------------------------------------- the folder


@pytest.fixture
def store(tmp_path):
    return RecipeStore(tmp_path / "recipes")


def test_the_folder_is_the_chosen_one_or_the_platforms(tmp_path):
    assert RecipeStore.from_environment({"OVERPAINT_RECIPES_DIR": str(tmp_path)}).root == tmp_path
    assert RecipeStore.from_environment({}).root.name == "recipes"


def test_a_folder_that_is_not_there_holds_nothing(store):
    assert store.entries() == ()
    assert not RecipeBook(store).look()


def test_a_new_recipe_never_replaces_one(store):
    path = store.create(INK)
    assert path == store.path_of("ink")
    assert read(path) == INK
    with pytest.raises(RecipeError, match="is there already"):
        store.create(dataclasses.replace(INK, name="Other"))
    assert read(path) == INK


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"id": "../ink"}, "no name for a recipe"),
        ({"id": ".ink"}, "no name for a recipe"),
        ({"name": ""}, "“name” is empty"),
        ({"prompt": "{word}"}, "holds {word}"),
    ],
)
def test_what_would_not_be_read_again_is_not_written(store, changes, mistake):
    with pytest.raises(RecipeError, match=mistake):
        store.create(dataclasses.replace(INK, **changes))
    assert not store.root.exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError, match="OVERPAINT_RECIPES_DIR"):
        RecipeStore(tmp_path / "file" / "recipes").create(INK)


def test_a_broken_file_is_announced_and_harms_no_other(store):
    store.create(Recipe(id="good", name="good one"))
    (store.root / "bad.toml").write_text(LEAST + "steps = 0\nguidance = 99")
    (store.root / "my own.toml").write_text(LEAST)
    (store.root / "gone.toml").symlink_to(store.root / "nowhere")
    (store.root / ".hidden.toml").write_text(LEAST)
    (store.root / "notes.txt").write_text(LEAST)
    announced = {info.name: info for info in infos(store.entries(), None)}
    assert list(announced) == ["bad", "gone", "good one", "my own"]
    assert announced["good one"].problem == ""
    assert announced["bad"].id == "bad"
    assert "150 steps" in announced["bad"].problem
    assert "“overpaint recipes check” names 1 more." in announced["bad"].problem
    assert announced["my own"].id.startswith("my-own-")
    assert "no file that can be read" in announced["gone"].problem


def test_two_names_that_cannot_be_asked_for_stay_apart(store):
    store.root.mkdir()
    for name in ("a b", "a+b", "é" * 70):
        (store.root / f"{name}.toml").write_text(LEAST)
    assert len({info.id for info in infos(store.entries(), None)}) == 3


def test_no_more_files_are_looked_at_than_can_be_announced(store):
    long = Recipe(id="long", name="🖋" * 80, description="🖋" * 300, engine="e" * 64)
    for number in range(MAX_RECIPES + 1):
        store.create(dataclasses.replace(long, id=f"{number:064}"))
    announced = infos(store.entries(), ())
    assert [info.id for info in announced][-1] == f"{MAX_RECIPES - 1:064}"
    assert all(info.problem for info in announced)
    framing.encode(Capabilities(engines=(), recipes=announced), id="1")


# ---------------------------------------------------------------- what can be asked for


def test_the_book_notices_every_change_and_reads_only_what_changed(store):
    book = RecipeBook(store)
    path = store.create(INK)
    store.create(Recipe(id="other", name="Other"))
    assert book.look()
    assert not book.look()
    untouched = book.get("other", None)
    path.write_text(LEAST)
    assert book.look()
    assert book.get("ink", None).name == "Ink"
    assert book.get("other", None) is untouched
    os.utime(path, ns=(1, 1))
    assert book.look()
    path.unlink()
    assert book.look()
    with pytest.raises(UnknownRecipe, match=r"There is no recipe called “ink”\. Choose one of: other\."):
        book.get("ink", None)


def test_with_no_recipe_at_all_the_command_for_one_is_named(store):
    with pytest.raises(UnknownRecipe, match="overpaint recipes new"):
        RecipeBook(store).get("ink", ())


def test_a_recipe_that_cannot_be_used_is_refused_with_its_problem(store):
    store.create(INK)
    book = RecipeBook(store)
    book.look()
    assert book.get("ink", [engine("painter", "pen", "paper")]) == INK
    with pytest.raises(UnknownRecipe, match=r"cannot be used\. Its engine “painter” is not offered here"):
        book.get("ink", [engine("other")])
    store.path_of("ink").write_text("")
    book.look()
    with pytest.raises(UnknownRecipe, match="“format” is missing"):
        book.get("ink", None)


@pytest.mark.parametrize(
    ("recipe", "engines", "problem"),
    [
        (INK, [engine("painter", "pen", "paper", "glow")], ""),
        (INK, [engine("painter", "pen")], "overpaint models import FILE --id paper"),
        (INK, [engine("painter", "pen"), engine("other", "paper")], "Painter cannot use the LoRA “paper”. It is made for: Other."),
        (dataclasses.replace(INK, engine=None), [engine("a"), engine("b", "paper", "pen")], ""),
        (dataclasses.replace(INK, engine=None), [engine("a", "pen"), engine("b", "paper")], "together: pen, paper"),
        (dataclasses.replace(INK, engine=None), [], "No engine here has the LoRA “pen”"),
        (Recipe(id="r", name="R", engine="sdxl"), [engine("a")], "“overpaint models add sdxl”"),
        (Recipe(id="r", name="R", engine="mine"), [engine("a")], "“overpaint models import FILE --id mine”"),
        (Recipe(id="r", name="R"), [], ""),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_the_command_that_gets_it(recipe, engines, problem):
    found = problem_of(recipe, engines)
    assert problem in found
    assert bool(found) == bool(problem)
