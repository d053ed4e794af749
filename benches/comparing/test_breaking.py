"""What needs no process of benches/breaking."""

import contextlib
import json
import tempfile
import tomllib
import unittest
from pathlib import Path
from unittest import mock

from comparing import breakage, flood, resilience, saturated

ADDRESSES = [("127.0.2.1", 8001), ("127.0.2.2", 8002)]
BOTH = {"127.0.2.1:8001", "127.0.2.2:8002"}


def asked(*requests):
    return [flood.Asked(due, status, took, late=1.0) for due, status, took in requests]


def side(p99, errors=0, requests=100):
    return {"requests": requests, "errors": errors, "p50": p99 / 2, "p99": p99}


def measured(broken, healthy=10.0, errors=0, out=1.0):
    sides = {"healthy": side(healthy), "broken": side(broken, errors), "gets": side(broken, errors), "posts": side(1.0)}
    return {**sides, "seen": 1.0, "there": 2.0, "out": out, "back": 0.0}


class Faults(unittest.TestCase):
    def test_each_breaks_at_once_and_is_mended_in_the_end(self):
        for name, fault in breakage.FAULTS.items():
            with self.subTest(name):
                steps = fault.steps(10)

                self.assertEqual((steps[0], steps[-1]), ((0, fault.breaks), (10, fault.mends)))
                self.assertEqual([moment for moment, _ in steps], sorted(moment for moment, _ in steps))

    def test_each_does_what_endpoints_can(self):
        for name, fault in breakage.FAULTS.items():
            for method, *given in (fault.breaks, fault.mends):
                with self.subTest(name, method=method):
                    self.assertTrue(callable(getattr(breakage.Endpoints, method)))
                    self.assertTrue(method != "be" or given[0] in breakage.MODES)

    def test_who_flaps_does_both_in_turn(self):
        methods = [(moment, method) for moment, (method,) in breakage.FAULTS["flaps"].steps(4)]

        self.assertEqual(methods, [(0, "kill"), (1, "start"), (2, "kill"), (3, "start"), (4, "start")])


class Requests(unittest.TestCase):
    def test_a_request_is_taken_once_it_is_whole(self):
        whole = breakage.REQUESTS["POST"]

        self.assertEqual(breakage.taken(whole + b"GET"), (whole.split(b"\r\n\r\n")[0], b"GET"))
        for length in range(len(whole)):
            self.assertIsNone(breakage.taken(whole[:length]))

    def test_a_get_has_no_body(self):
        self.assertEqual(breakage.taken(breakage.REQUESTS["GET"])[1], b"")

    def test_modes_answer_refuse_reset_and_wait(self):
        met = {mode: self.met_by(mode) for mode in breakage.MODES}

        self.assertEqual({mode: later for mode, (later, _) in met.items() if later}, {"sound": 0.5, "wavers": 0.5, "slow": 0.7, "slower": 1.5})
        self.assertEqual([call[0] for call in met["refuses"][1]], ["is_closing", "write"])
        self.assertEqual([call[0] for call in met["resets"][1]], ["get_extra_info", "get_extra_info().setsockopt", "abort"])
        self.assertEqual(met["silent"][1], [])

    def test_a_check_takes_no_time(self):
        later, _ = self.met_by("sound", f"GET {breakage.CHECK} HTTP/1.1\r\n\r\n".encode())

        self.assertEqual(later, 0)

    def met_by(self, mode, request=breakage.REQUESTS["GET"]):
        """After how many seconds a request is answered, and what is done at once."""
        connection, transport = breakage.Connection(lambda _: mode, lambda: 0.5), mock.Mock()
        transport.is_closing.return_value = False
        connection.connection_made(transport)
        with mock.patch("asyncio.get_running_loop") as loop:
            connection.data_received(request)
        later = loop().call_later.call_args
        return later and later.args[0], transport.mock_calls


class Figures(unittest.TestCase):
    MARKS = breakage.Marks(begin=0, broken=10, mended=20, end=30)

    def test_requests_count_where_they_were_due(self):
        gets = asked((-1, 0, 1.0), (1, 200, 10.0), (12, 200, 30.0), (19, 503, 1.0), (25, 200, 20.0), (29, 0, 1.0))
        posts = asked((5, 0, 1.0), (15, 504, 1.0), (20.5, 200, 1.0))

        figures = breakage.became({"GET": gets, "POST": posts}, self.MARKS, ([0, 1, 5], [0, 3, 7]), [])

        self.assertEqual([figures[key]["requests"] for key in ("healthy", "broken", "gets", "posts")], [1, 2, 4, 2])
        self.assertEqual([figures[key]["errors"] for key in ("healthy", "broken", "gets", "posts")], [0, 1, 2, 1])
        # two GETs and two POSTs were due up to a second after it was mended
        self.assertEqual((figures["seen"], figures["there"]), (1.0, 50.0))
        self.assertEqual((figures["out"], figures["back"]), (None, None))

    def test_an_endpoint_is_out_from_the_first_moment_after_the_break(self):
        changes = [(9, True), (11.5, False), (15, True), (16, False), (21, True)]

        self.assertEqual(breakage.turned(changes, 10, False), 1.5)
        self.assertEqual(breakage.turned(changes, 20, True), 1.0)

    def test_who_was_never_out_is_back_at_once(self):
        self.assertIsNone(breakage.turned([(9, True)], 10, False))
        self.assertEqual(breakage.turned([(9, True)], 20, True), 0.0)

    def test_the_ratio_is_the_median_of_the_rounds(self):
        self.assertEqual(breakage.ratio([measured(12.0), measured(90.0), measured(30.0, healthy=20.0)]), 1.5)

    def test_there_is_no_ratio_where_the_slowest_hundredth_failed(self):
        self.assertIsNotNone(breakage.ratio([measured(12.0, errors=1)]))
        self.assertIsNone(breakage.ratio([measured(12.0), measured(12.0, errors=2)]))

    def test_a_row_has_a_cell_for_each_heading(self):
        for rounds in ([measured(12.0)], [measured(12.0, out=None), measured(14.0, errors=3, out=None)]):
            cells = breakage.row("killed", "ours", rounds).strip("| ").split(" | ")

            self.assertEqual(len(cells), len(breakage.HEAD))

        self.assertEqual(cells[2:6], ["3 of 200", "0 of 200", "5.0 → 6.5", "10.0 → 13.0"])
        self.assertEqual(cells[6:], ["-", "1.00", "2.0", "-", "0.0"])


def side_of_wrk(p99, sockets=0, refused=0):
    return saturated.figures({"requests": 2000, "us": 2_000_000, "p50": 1500, "p99": p99, "sockets": sockets, "refused": refused})


class Saturated(unittest.TestCase):
    def test_what_wrk_says_is_read(self):
        said = 'Running 2s test\nJSON {"requests": 9, "us": 3000000, "p50": 1500, "p99": 2500, "sockets": 1, "refused": 3}\n'

        self.assertEqual(saturated.told(said), {"requests": 9, "sockets": 1, "refused": 3, "rate": 2.0, "p50": 1.5, "p99": 2.5})
        with self.assertRaises(SystemExit):
            saturated.told("unable to connect to 127.0.0.1:1 Connection refused")

    def test_changes_come_into_the_midst_of_requests(self):
        endpoints, asked = mock.Mock(), []

        @contextlib.contextmanager
        def ask(seconds):
            asked.append((seconds, len(endpoints.mock_calls)))
            yield lambda: len(endpoints.mock_calls)

        with mock.patch("time.sleep"):
            sides = saturated.broken_and_mended(endpoints, breakage.FAULTS["flaps"], ask, seconds=3, calm=2)

        self.assertEqual([call[0] for call in endpoints.mock_calls], ["kill", "start", "kill", "start"])
        self.assertEqual(asked, [(2, 0), (3, 0), (2, 3)])
        self.assertEqual(sides, {"healthy": 0, "broken": 3, "mended": 4})

    def test_a_row_has_a_cell_for_each_heading(self):
        sides = {"healthy": side_of_wrk(2000), "broken": side_of_wrk(3000, 1, 4), "mended": side_of_wrk(2000, 2)}

        cells = saturated.row("killed", 64, "ours", [sides | {"core": 99.6}]).strip("| ").split(" | ")

        self.assertEqual(len(cells), len(saturated.HEAD))
        self.assertEqual(cells[:5], ["killed", "64", "ours", "3 of 4,000", "4 of 4,000"])
        self.assertEqual(cells[6:], ["2.0 → 3.0 → 2.0", "1.50", "1,000 → 998 → 1,000", "100"])


class Ways(unittest.TestCase):
    def test_absent_peers_are_told(self):
        chosen, missing = resilience.ways("ours", ["haproxy", "envoy"], {"haproxy": "/bin/h"}.get)

        self.assertEqual(missing, ["envoy"])
        self.assertEqual([(way.program, program) for way, program in chosen[2:]], [("haproxy", "/bin/h")])

    def test_without_peers_it_is_ours_alone(self):
        chosen, missing = resilience.ways("ours", [], {}.get)

        self.assertEqual((chosen, missing), ([(resilience.PLAIN, "ours"), (resilience.HEDGING, "ours")], []))

    def test_each_way_has_a_name_of_its_own_and_starts_what_it_wrote(self):
        ways = (resilience.PLAIN, resilience.HEDGING, *resilience.PEERS)

        self.assertEqual(len({str(way) for way in ways}), len(ways))
        for way in ways:
            with self.subTest(str(way)), tempfile.TemporaryDirectory() as folder:
                command = way.prepare("program", Path(folder), 1, 2, ADDRESSES)

                self.assertEqual(command[0], "program")
                files = [Path(part) for part in command if part.startswith(folder)]
                self.assertEqual([file.exists() for file in files], [True])

    def test_all_have_the_endpoints_and_the_times_of_checks(self):
        pool = tomllib.loads(self.written(resilience.HEDGING, "routes.toml"))["pools"]["app"]
        servers = self.written(resilience.PEERS[0], "haproxy.cfg")
        cluster = json.loads(self.written(resilience.PEERS[1], "envoy.json"))["static_resources"]["clusters"][0]

        self.assertEqual(set(pool["endpoints"]), BOTH)
        self.assertEqual((pool["health"]["interval"], pool["timeouts"]["attempt"]), ("500ms", "500ms"))
        self.assertEqual({line.split()[2] for line in servers.splitlines() if line.startswith("  server ")}, BOTH)
        self.assertIn("check inter 500ms fastinter 100ms rise 2 fall 2 ", servers)
        self.assertEqual(len(cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]), 2)
        self.assertEqual(cluster["health_checks"][0]["interval"], "0.5s")

    def test_only_one_of_ours_hedges(self):
        pools = [tomllib.loads(self.written(way, "routes.toml"))["pools"]["app"] for way in (resilience.PLAIN, resilience.HEDGING)]

        self.assertEqual(["hedge" in pool.get("retry", {}) for pool in pools], [False, True])

    def test_what_may_not_be_repeated_is_tried_again_only_where_it_was_not_sent(self):
        haproxy = self.written(resilience.PEERS[0], "haproxy.cfg")
        envoy = json.loads(self.written(resilience.PEERS[1], "envoy.json"))["static_resources"]["listeners"][0]

        manager = envoy["filter_chains"][0]["filters"][0]["typed_config"]
        post, others = manager["route_config"]["virtual_hosts"][0]["routes"]
        self.assertEqual(post["match"]["headers"][0]["string_match"], {"exact": "POST"})
        self.assertNotIn("reset", post["route"]["retry_policy"]["retry_on"])
        self.assertIn("reset", others["route"]["retry_policy"]["retry_on"])
        self.assertIn("disable-l7-retry unless METH_GET", haproxy)

    def test_what_each_says_of_its_endpoints_is_read(self):
        members = [{"address": "127.0.2.1:8001", "eligible": True}, {"address": "127.0.2.2:8002", "eligible": False}]
        hosts = [(*ADDRESSES[0], {"eds_health_status": "HEALTHY"}), (*ADDRESSES[1], {"failed_outlier_check": True})]
        hosts = [
            {"address": {"socket_address": {"address": address, "port_value": port}}, "health_status": health}
            for address, port, health in hosts
        ]
        rows = "# pxname,svname,status\nin,FRONTEND,OPEN\napp,{},UP 1/2\napp,{},DOWN\napp,BACKEND,UP\n"

        said = {
            resilience.used_by_tenantry: json.dumps([{"name": "app", "members": members}]),
            resilience.used_by_haproxy: rows.format("127.0.2.1:8001", "127.0.2.2:8002"),
            resilience.used_by_envoy: json.dumps({"cluster_statuses": [{"host_statuses": hosts}]}),
        }

        for used, text in said.items():
            self.assertEqual(used(text), {"127.0.2.1:8001"})

    def written(self, way, name):
        with tempfile.TemporaryDirectory() as folder:
            way.prepare("program", Path(folder), 1, 2, ADDRESSES)
            return (Path(folder) / name).read_text()


if __name__ == "__main__":
    unittest.main()
