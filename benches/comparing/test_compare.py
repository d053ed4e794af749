"""What needs no process of benches/compare."""

import unittest

from comparing import balance, latency
from comparing.loads import in_turn, ratio_to_best


class Turns(unittest.TestCase):
    def test_each_round_begins_with_another_one(self):
        rounds = [in_turn(("a", "b", "c"), number) for number in range(4)]

        self.assertEqual(rounds, [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]])

    def test_the_ratio_is_to_the_best_of_the_same_round(self):
        costs = [{"ours": 9, "a": 10, "b": 20}, {"ours": 30, "a": 40, "b": 20}, {"ours": 10, "a": 10, "b": 20}]
        rounds = [{name: {"cost": cost} for name, cost in each.items()} for each in costs]

        self.assertEqual(ratio_to_best(rounds, "ours", ["a", "b"]), 1.0)


class Latencies(unittest.TestCase):
    def test_what_was_not_asked_meanwhile_would_have_waited(self):
        self.assertEqual(latency.corrected([1.0, 25.0], pause=10.0), [1.0, 5.0, 15.0, 25.0])

    def test_quantiles_leave_out_what_is_slower(self):
        took = list(range(1, 1001))

        self.assertEqual(latency.quantiles(took), [501, 991, 1000])
        self.assertEqual(latency.quantiles(took, (0, 0.25, 1)), [1, 251, 1000])
        self.assertEqual(latency.quantiles([7]), [7, 7, 7])


class Balance(unittest.TestCase):
    def test_connections_are_read_from_the_metrics(self):
        metrics = (
            '# TYPE tenantry_worker_connections gauge\n'
            'tenantry_worker_connections{worker="0"} 3\ntenantry_worker_connections{worker="1"} 12\n'
            "tenantry_downstream_connections 15\n"
        )

        self.assertEqual(balance.connections(metrics), [3, 12])

    def test_the_busiest_worker_is_told_by_an_even_share(self):
        self.assertEqual(balance.busiest([2, 2]), 1.0)
        self.assertEqual(balance.busiest([4, 0]), 2.0)
        # four connections over eight workers: one each is as even as it can be
        self.assertEqual(balance.busiest([1, 1, 1, 1, 0, 0, 0, 0]), 1.0)

    def test_the_system_gives_all_connections_to_somebody(self):
        self.assertEqual(sum(balance.by_the_system(3, 10)), 10)


if __name__ == "__main__":
    unittest.main()
