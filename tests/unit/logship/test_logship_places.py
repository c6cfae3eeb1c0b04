"""How far a sink is, kept whole on disk."""

from deploy.envoy.logship.places import Place, Places


def test_places_are_there_after_a_restart(tmp_path):
    path = tmp_path / "sink.json"
    places = Places(path)
    assert places.of("a") == Place(0, 0, 0)
    places.save("a", Place(100, 7), frozenset({"a", "b"}))
    places.save("b", Place(50, 8, 2), frozenset({"a", "b"}))
    again = Places(path)
    assert (again.of("a"), again.of("b")) == (Place(100, 7), Place(50, 8, 2))
    again.save("b", Place(60, 9, 2), frozenset({"b"}))
    assert Places(path).of("a") == Place()


def test_what_a_crash_left_half_written_is_not_read(tmp_path):
    path = tmp_path / "sink.json"
    Places(path).save("a", Place(100, 7), frozenset({"a"}))
    path.with_suffix(".new").write_text('{"a": {"off')
    assert Places(path).of("a") == Place(100, 7)


def test_places_that_cannot_be_read_are_begun_anew(tmp_path):
    path = tmp_path / "sink.json"
    for spoilt in ("", "{", "[]", '{"a": 1}', '{"a": {"where": 1}}', "\0" * 50):
        path.write_text(spoilt)
        places = Places(path)
        assert places.of("a") == Place()
        places.save("a", Place(1, 2), frozenset({"a"}))
        assert Places(path).of("a") == Place(1, 2)


def test_a_file_that_was_rewritten_gets_a_new_name():
    assert Place(generation=0).name("x") == "x"
    assert Place(generation=2).name("x") == "x~2"
