"""What needs no process of benches/neighbours."""

import json
import tempfile
import unittest
from pathlib import Path

from comparing import flood, sharing

SETTING = sharing.Setting(("a", "b", "c", "d", "flood"), places=20, takes=200, wait=5, workers=2)


def asked(*requests):
    return [flood.Asked(due, status, took, late=1.0) for due, status, took in requests]


def measured(beside, errors=0, alone=300.0):
    side = {"requests": 100, "errors": 0}
    return {"alone": {**side, "p99": alone}, "beside": {**side, "errors": errors, "p99": beside}}


class Figures(unittest.TestCase):
    def test_what_was_not_served_is_an_error_and_no_latency(self):
        entries = asked((0, 200, 10.0), (1, 503, 1.0), (2, 0, 2.0), (3, None, 0.0), (4, 200, 30.0))

        figures = flood.figures(entries)

        self.assertEqual((figures["requests"], figures["errors"]), (5, 3))
        self.assertEqual((figures["p50"], figures["p99"], figures["slowest"]), (30.0, 30.0, 30.0))

    def test_the_hundredth_part_is_left_to_the_slowest(self):
        figures = flood.figures(asked(*((0, 200, float(number)) for number in range(1000, 0, -1))))

        self.assertEqual((figures["p50"], figures["p99"], figures["slowest"]), (501.0, 991.0, 1000.0))

    def test_nothing_served_has_no_latency(self):
        for entries in ([], asked((0, 503, 1.0))):
            figures = flood.figures(entries)

            self.assertEqual((figures["errors"], figures["p50"], figures["p99"]), (len(entries), None, None))

    def test_served_counts_what_ended_between_two_moments(self):
        # the first ends before, the last after, one is refused
        entries = asked((9, 200, 500.0), (9, 200, 1500.0), (10, 503, 1.0), (11, 200, 500.0), (11.9, 200, 500.0))

        self.assertEqual(flood.served(entries, 10, 12), 1.0)


class Rounds(unittest.TestCase):
    def test_the_ratio_is_the_median_of_the_rounds(self):
        rounds = [measured(330.0), measured(900.0), measured(440.0, alone=400.0)]

        self.assertAlmostEqual(flood.ratio(rounds), 1.1)

    def test_there_is_no_ratio_where_the_slowest_hundredth_failed(self):
        self.assertIsNotNone(flood.ratio([measured(330.0, errors=1)]))
        self.assertIsNone(flood.ratio([measured(330.0), measured(330.0, errors=2)]))

    def test_a_round_without_a_figure_is_left_out_of_its_median(self):
        self.assertEqual(flood.middle([{"p50": 3}, {"p50": None}, {"p50": 1}], "p50"), 2)
        self.assertIsNone(flood.middle([{"p50": None}], "p50"))

    def test_failures_are_counted_over_all_rounds(self):
        rounds = [{"requests": 100, "errors": 3}, {"requests": 300, "errors": 1}]

        self.assertEqual(flood.failed(rounds), 1.0)
        self.assertEqual(flood.failed([]), 0.0)


class Ways(unittest.TestCase):
    def test_the_share_is_even_and_at_least_one(self):
        self.assertEqual((SETTING.capacity, SETTING.share), (100.0, 20))
        self.assertEqual(sharing.Setting(("a",) * 9, places=1, takes=1000, wait=5, workers=1).share, 1)

    def test_absent_peers_are_told(self):
        chosen, missing = sharing.ways("ours", ["haproxy", "envoy"], False, {"haproxy": "/bin/h"}.get)

        self.assertEqual(missing, ["envoy"])
        self.assertEqual({way.program for way, _ in chosen}, {"tenantry", "haproxy"})
        self.assertEqual({program for _, program in chosen}, {"ours", "/bin/h"})

    def test_without_peers_it_is_ours_alone(self):
        self.assertEqual(sharing.ways("ours", [], False), ([(sharing.FAIR, "ours")], []))
        self.assertEqual(sharing.ways("ours", [], True)[0][1], (sharing.UNLIMITED, "ours"))

    def test_each_way_has_a_name_of_its_own(self):
        names = {str(way) for way in (sharing.FAIR, sharing.UNLIMITED, *sharing.PEERS)}

        self.assertEqual(len(names), 2 + len(sharing.PEERS))

    def test_each_way_starts_what_it_wrote(self):
        for way in (sharing.FAIR, sharing.UNLIMITED, *sharing.PEERS):
            with self.subTest(str(way)), tempfile.TemporaryDirectory() as folder:
                command = way.prepare("program", Path(folder), SETTING, 1, 2, 3)

                self.assertEqual(command[0], "program")
                files = [Path(part) for part in command if part.startswith(folder)]
                self.assertEqual([file.exists() for file in files], [True])

    def test_only_ours_with_concurrency_has_a_limit(self):
        limited = [self.written(way, "routes.toml") for way in (sharing.FAIR, sharing.UNLIMITED)]

        self.assertEqual(["concurrency = 20\n" in text for text in limited], [True, False])
        self.assertEqual([text.count("[tenants.") for text in limited], [5, 5])

    def test_haproxy_counts_what_goes_on_and_refuses_the_rest(self):
        plain, rated, prioritised = (self.written(way, "haproxy.cfg") for way in sharing.PEERS[:3])

        self.assertNotIn("http-request", plain)
        self.assertIn("deny_status 429 if { sc_gpc0_rate(0) ge 20 }\n  http-request sc-inc-gpc0(0)\n", rated)
        self.assertIn("set-priority-class int(1) if { sc_http_req_rate(0) gt 20 }\n", prioritised)
        self.assertIn("{ queue(app) ge 50 }\n", prioritised)
        for text in (plain, rated, prioritised):
            self.assertIn(" maxconn 20\n", text)

    def test_envoy_has_one_cluster_or_one_for_each_tenant(self):
        plain, rated, apart = (json.loads(self.written(way, "envoy.json"))["static_resources"] for way in sharing.PEERS[3:])

        places = [[self.breakers(cluster) for cluster in each["clusters"]] for each in (plain, rated, apart)]
        self.assertEqual(places, [[(20, 500)], [(20, 500)], [(4, 100)] * 5])
        self.assertEqual([cluster["name"] for cluster in apart["clusters"]], list(SETTING.tenants))
        self.assertEqual([len(self.manager(each)["http_filters"]) for each in (plain, rated, apart)], [1, 2, 1])

    def test_a_tenant_has_a_place_of_its_own_where_there_are_few(self):
        few = sharing.Setting(SETTING.tenants, places=2, takes=200, wait=5, workers=1)

        clusters = sharing.envoy_bootstrap(few, 1, 2, rated=False, apart=True)["static_resources"]["clusters"]

        self.assertEqual({self.breakers(cluster)[0] for cluster in clusters}, {1})

    def written(self, way, name):
        with tempfile.TemporaryDirectory() as folder:
            way.prepare("program", Path(folder), SETTING, 1, 2, 3)
            return (Path(folder) / name).read_text()

    def breakers(self, cluster):
        breakers = cluster["circuit_breakers"]["thresholds"][0]
        return breakers["max_connections"], breakers["max_pending_requests"]

    def manager(self, resources):
        return resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


if __name__ == "__main__":
    unittest.main()
