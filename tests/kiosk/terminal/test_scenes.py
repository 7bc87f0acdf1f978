"""Every screen of the station has a scene that says what it must, fits into 80 by 24, and offers only what is safe."""

import pytest
from rich.cells import cell_len

from lsemvae_edge.decision import NO_REASSURANCE
from lsemvae_edge.kiosk.terminal import layout, letters, scenes, words
from lsemvae_edge.kiosk.terminal.scenes import Choice, Line
from lsemvae_edge.language import get as language_of

EN = language_of("en")


def made(state, **answers):
    return scenes.scene(state, language_of(state["language"]), answers)


def said(scene):
    parts = [scene.heading, *(line.text for line in scene.lines), *(choice.label for choice in scene.choices)]
    return " ".join([*parts, scene.entry.label if scene.entry else ""])


def test_every_screen_of_the_flow_has_a_scene():
    from typing import get_args

    from lsemvae_edge.kiosk.flow import Screen

    assert set(get_args(Screen)) | {"same_person", "locked"} == set(scenes._SCENES)


def test_every_choice_is_an_act_of_the_station_or_the_terminals_own(state_of, screen):
    from lsemvae_edge.kiosk.station import ACTS

    scene = made(state_of(screen))
    own = {":answer", ":unanswer", ":close", ":switch", ":no_consent"}
    acts = {choice.act for choice in scene.choices} | ({scene.entry.act} if scene.entry else set())
    acts |= {scene.escape.act} if scene.escape else set()
    assert acts <= set(ACTS) | own


def test_waiting_and_locked_screens_say_nothing_of_a_person(state_of):
    for screen in ("waiting", "locked", "sign_in"):
        assert "KTM0042Q" not in said(made(state_of(screen)))


def test_a_result_says_whose_it_is_when_and_which_attempt(state_of):
    scene = made(state_of("result"))
    large = [line.text for line in scene.lines if line.style == "large"]
    assert large == ["KTM0042Q", "14:05  1/3"]
    assert NO_REASSURANCE in said(scene)


def test_a_result_without_a_clock_says_so(state_of):
    result = {**state_of("result")["result"], "time": None}
    assert words.TIME_UNKNOWN in said(made(state_of("result", result=result)))


def test_outcomes_differ_in_shape_and_not_in_colour_alone(state_of):
    tones = [made(state_of(screen)).tone for screen in ("seen", "result", "swap")]
    assert tones == ["seen", "not_seen", "no_answer"]
    assert len({scenes.SHAPES[tone] for tone in tones}) == 3


def test_an_unreviewed_language_shows_the_result_in_english_as_well(state_of):
    scene = made(state_of("result", "ne"))
    assert "Pattern not seen: right-heart pattern" in said(scene)
    assert NO_REASSURANCE in said(scene)


def test_no_screen_shows_a_probability(state_of, screen):
    state = state_of(screen)
    if state["result"]:
        state["result"]["probability"] = 0.123456
    assert "0.12" not in said(made(state))


def test_an_enter_too_many_does_not_end_a_recording_or_confirm_a_person(state_of):
    assert made(state_of("recording")).choices[0].act == ":close"
    first = made(state_of("same_person")).choices[0]
    assert (first.act, first.values) == ("confirm_same", {"same": False})


def test_the_electrode_question_is_asked_only_after_a_swap_warning(state_of):
    values = [choice.values for choice in made(state_of("swap")).choices if choice.act == "retry"]
    assert values == [{"electrodes_confirmed": False}, {"electrodes_confirmed": True}]
    values = [choice.values for choice in made(state_of("retry")).choices if choice.act == "retry"]
    assert values == [{}]
    assert all(choice.act != "retry" for choice in made(state_of("result")).choices)


def test_a_page_that_is_being_printed_is_not_printed_again(state_of):
    printer = {"state": "printing", "text": "Printing.", "copies": 1}
    acts = [choice.act for choice in made(state_of("result", printer=printer)).choices]
    assert acts == ["next"]
    labels = [choice.label for choice in made(state_of("result", printer={**printer, "state": "done"})).choices]
    assert labels == [words.PRINT_AGAIN, words.NEXT]


def test_questions_about_the_person_come_one_at_a_time(state_of):
    state = state_of("about")
    assert made(state).heading == words.CONSENT
    assert made(state, consent=True).heading == words.AGE
    last = made(state, consent=True, age_band="40-64")
    assert last.heading == words.PACEMAKER
    assert last.choices[0].values == {"consent": True, "age_band": "40-64", "pacemaker": "no"}


def test_the_recorder_in_range_stands_first(state_of):
    choices = made(state_of("recorder")).choices
    assert words.IN_RANGE in choices[0].label
    assert words.OUT_OF_RANGE in choices[1].label


def test_no_recorder_says_what_to_do(state_of):
    assert words.NO_RECORDER_STEP in said(made(state_of("no_recorder")))
    assert words.LOOKING in said(made(state_of("no_recorder", looking=True)))


def test_a_result_that_clears_soon_says_so(state_of):
    result = {**state_of("result")["result"], "clears_in_s": 12.4}
    assert "12 s" in said(made(state_of("result", result=result)))


def test_the_kernels_console_offers_only_what_it_can_write(state_of):
    scene = scenes.languages(state_of("waiting"), EN, console=True)
    assert [choice.values["code"] for choice in scene.choices] == ["en", "es", "fr"]
    assert scenes.writable(state_of("waiting", "ne")) == "en"
    assert scenes.writable(state_of("waiting", "fr")) == "fr"
    assert len(scenes.languages(state_of("waiting"), EN, console=False).choices) == 5


def test_every_scene_fits_in_every_language(state_of, screen, code):
    state, width = state_of(screen, code), 78
    scene = made(state)
    is_airy = not scene.is_recording and not scene.name.startswith("result")
    inside = width - 4 if is_airy else width
    rows = 24 - 2 - 1 - (2 if is_airy else 0)
    heading = layout.heading(scene, width).plain.split("\n")
    rows -= len(heading)
    lines = [*heading]
    if scene.choices:
        menu = layout.menu(scene.choices, 0, inside, across=scene.is_across).plain.split("\n")
        lines += menu
        rows -= len(menu) + 1
    rows -= 4 if scene.entry else 0
    if state["message"] and screen != "failed":
        rows -= len(layout.wrapped(f"! {state['message']['message']} {state['message']['next_step']}", width))
    body, _ = layout.body(scene.lines, inside, rows)
    body_lines = body.plain.split("\n")
    assert len(body_lines) <= rows
    lines += body_lines
    lines.append(layout.head(state, language_of(code), width).plain)
    lines.append(layout.foot(scene, language_of(code), width).plain)
    if state["recording"]:
        lines += layout.contacts(state["recording"], language_of(code), width, 0.5).plain.split("\n")
    too_long = [line for line in lines if layout.cells_of(line) > width]
    assert too_long == []


def test_a_vowel_sign_that_stands_beside_its_letter_takes_a_cell():
    assert layout.cells_of("का") == 2
    assert layout.cells_of("क्") == 1
    assert layout.cells_of("Español ▲") == cell_len("Español ▲")


@pytest.mark.parametrize("text", ["one two three", "a" * 50, "", "का " * 30, "x " + "y" * 25 + " z"])
def test_wrapping_loses_nothing_and_keeps_to_the_width(text):
    lines = layout.wrapped(text, 10)
    assert all(layout.cells_of(line) <= 10 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_large_letters_are_given_up_where_they_do_not_fit():
    assert len(letters.large("KTM0042Q", 78)) == letters.ROWS
    assert letters.large("A" * 20, 78) == [" ".join("A" * 20)]
    assert letters.large("नेपाली", 78) == [" ".join("नेपाली")]


def test_large_letters_are_all_different():
    drawn = {letter: tuple(letters.large(letter, 80)) for letter in letters._DOTS}
    assert len(set(drawn.values())) == len(drawn)


def test_a_long_menu_keeps_the_selected_choice_in_sight():
    choices = [Choice(f"OP{number}", "sign_in") for number in range(30)]
    for selected in (0, 15, 29):
        text = layout.menu(choices, selected, 78, across=False).plain
        assert f"► OP{selected} " in text
        assert len(text.split("\n")) <= layout.MENU_ROWS


def test_what_is_crowded_loses_air_before_it_loses_words():
    lines = [Line("strong words", "strong"), Line("ID1", "large"), Line("other words")]
    roomy, is_tall = layout.body(lines, 78, 20)
    assert (len(roomy.plain.split("\n")), is_tall) == (8, True)
    tight, is_tall = layout.body(lines, 78, 3)
    assert tight.plain.split("\n") == ["strong words", "ID1", "other words"]
    assert not is_tall
