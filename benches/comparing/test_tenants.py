"""What needs no process of benches/tenants."""

import importlib.machinery
import importlib.util
import tomllib
import unittest
from pathlib import Path

from comparing import canaries

PATH = str(Path(__file__).resolve().parent.parent / "tenants")
LOADER = importlib.machinery.SourceFileLoader("tenants", PATH)
TENANTS = importlib.util.module_from_spec(importlib.util.spec_from_loader("tenants", LOADER))
LOADER.exec_module(TENANTS)


def waited(took, queued=0.0, ran=0.0):
    return canaries.Wait(took, queued, ran)


def figures(**others):
    traffic = {"errors": 0}
    calm = {"calm": [waited(0.001)], "beside file": [waited(0.004)], "beside api": [waited(0.002)]}
    edits = {"by file": [0.1, 0.2], "by api": [0.002, 0.01]}
    return {"ready": 0.2, "memory": 100 << 20, "traffic": traffic, "beside edits": traffic, **calm, **edits, **others}


class Waits(unittest.TestCase):
    def test_what_others_had_the_processor_for_is_no_pause_of_the_gateway(self):
        self.assertAlmostEqual(canaries.own(waited(0.010, queued=0.009, ran=0.001)), 0.001)

    def test_where_the_gateway_was_busy_nothing_is_taken_off(self):
        self.assertAlmostEqual(canaries.own(waited(0.010, queued=0.009, ran=0.005)), 0.010)

    def test_a_worker_that_slept_has_paused(self):
        self.assertAlmostEqual(canaries.longest([waited(0.001), waited(0.010)]), 0.010)

    def test_both_may_have_stood_in_line_at_once(self):
        self.assertEqual(canaries.own(waited(0.010, queued=0.012)), 0)


class Aims(unittest.TestCase):
    def test_all_are_met(self):
        self.assertEqual(TENANTS.missed(100_000, figures(), "plan"), [])

    def test_each_is_missed_by_its_own_figure(self):
        for more in (
            {"ready": 2.1},
            {"by file": [0.1, 0.31]},
            {"by api": [0.021]},
            {"beside file": [waited(0.006)]},
            {"beside api": [waited(0.006)]},
            {"memory": 1 << 30},
            {"traffic": {"errors": 1}},
            {"beside edits": {"errors": 1}},
        ):
            self.assertEqual(len(TENANTS.missed(100_000, figures(**more), "plan")), 1, more)

    def test_a_pause_is_none_where_the_machine_made_longer_ones_when_all_was_calm(self):
        paused = figures(**{"beside file": [waited(0.006)], "calm": [waited(0.007)]})

        self.assertEqual(TENANTS.missed(100_000, paused, "plan"), [])

    def test_a_million_has_an_aim_of_memory_alone(self):
        slow = figures(ready=3.0, **{"by file": [0.8], "by api": [0.04]})

        self.assertEqual(TENANTS.missed(1_000_000, slow, "plan"), [])
        self.assertEqual(len(TENANTS.missed(1_000_000, figures(memory=2 << 30), "plan")), 1)
        self.assertEqual(TENANTS.missed(1_000_000, figures(memory=2 << 30), "several"), [])


class Texts(unittest.TestCase):
    def test_tenants_of_both_kinds_are_tables_and_an_edit_of_one_changes_its_pool(self):
        for kind in ("plan", "several"):
            text = "".join(TENANTS.tenant(number, kind) for number in range(12))

            edited = tomllib.loads(text.replace(TENANTS.TENANT.format(1), TENANTS.EDITED.format(1), 1))["tenants"]

            before = tomllib.loads(text)["tenants"]
            self.assertEqual(edited.pop("t1"), {"pool": "b", **before.pop("t1")})
            self.assertEqual(edited, before)
        self.assertEqual(len(before["t7"]["routes"]), 2)
