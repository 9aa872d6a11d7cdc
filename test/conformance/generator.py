"""Writes DAG files that mix Airflow's features at random, the same for the same seed: python generator.py FOLDER [SEEDS].

Without a recording are seeds whose tasks read what mapped tasks returned so far (`one_done` and its like on `listed`): that
depends on which comes first.

A file holds ten DAGs, named after their seeds. SEEDS is a range such as 100-259; without it, all that have a recording.
"""
import json
import pathlib
import random
import sys

HERE = pathlib.Path(__file__).parent
PER_FILE = 10
# What ends first must not matter, or Airflow itself would not give the same outcome twice. It matters to all_success with
# a failed and a skipped upstream, so that joins in DAGs that have both use other rules.
ONE_OF_BOTH = ["all_success"] * 6 + ["all_done", "none_failed", "none_failed_min_one_success"] * 2
INDEPENDENT = ["all_done", "none_failed", "none_failed_min_one_success"] * 3 + ["all_done_min_one_success", "none_skipped", "all_failed", "all_skipped"]
HASTY = ["one_success", "one_failed", "one_done"]
FLAVOURS = {
    # outcomes, rules of joins, what may be used
    "failing": (["ok"] * 6 + ["fail"] * 2 + ["fail_until_2", "none"], ONE_OF_BOTH + ["one_success"], ["scope", "mapped_group"]),
    "skipping": (["ok"] * 6 + ["skip"] * 2 + ["none"], ONE_OF_BOTH + INDEPENDENT + HASTY, ["branch", "circuit", "scope", "mapped_group"]),
    "mixed": (["ok"] * 6 + ["fail", "skip"] * 2 + ["fail_until_2", "none"], INDEPENDENT + HASTY, ["branch", "circuit", "scope", "mapped_group"]),
}

HEADER = '''"""Made by generator.py."""
from acts import NO_DELAY, START, act, empty, step
from airflow.providers.standard.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from airflow.sdk import DAG, TaskGroup, task, task_group


@task
def listed(values, **arguments):
    """What a mapped task, or another, returned."""
    return list(values) if not isinstance(values, str) else values


@task
def outcomes(values):
    return values


@task
def do(outcome):
    return act(outcome)
'''


class Node:
    def __init__(self, variable, is_mapped=False, is_sealed=False):
        self.variable = variable
        self.is_mapped = is_mapped
        # Tasks below may be skipped while their other upstreams run, so they may have no others.
        self.is_sealed = is_sealed


class Writer:
    def __init__(self, seed):
        self.pick = random.Random(seed)
        self.seed = seed
        self.flavour = self.pick.choice(list(FLAVOURS))
        self.outcomes, self.rules, self.specialities = FLAVOURS[self.flavour]
        self.sources = []
        self.lines = []
        self.nodes = []
        self.lists = []  # What mapped tasks return, with whether it is sealed.
        self.count = 0
        self.depth = 1
        # Inside a task group, tasks without upstream are not roots of the DAG.
        self.in_group = False

    def line(self, text):
        self.lines.append("    " * self.depth + text if text else "")

    def name(self):
        self.count += 1
        return f"t{self.count}"

    def outcome(self):
        return self.pick.choice(self.outcomes)

    def values(self):
        shortest = 1 if self.flavour == "failing" else 0
        return [self.outcome() for _ in range(max(shortest, self.pick.choice([0, 1, 2, 3, 3])))]

    def chance(self, share):
        return self.pick.random() < share

    def above(self):
        wanted = self.pick.choice([0, 1, 1, 1, 2, 2, 3])
        chosen = self.pick.sample(self.nodes, k=min(len(self.nodes), wanted))
        sealed = [node for node in chosen if node.is_sealed]
        return sealed[:1] or chosen

    def rule(self, above):
        """The keyword argument, with the comma before it."""
        is_join = len(above) > 1 or any(node.is_mapped for node in above)
        rule = self.pick.choice(self.rules if is_join else self.rules + ["all_success"] * 10)
        return "" if rule == "all_success" else f', trigger_rule="{rule}"'

    def join(self, above, below):
        """Tasks without upstream wait for the lists that others expand on."""
        names = [node.variable for node in above]
        if not names and not self.in_group:
            names = ["begin"]
        if names:
            self.line(f"[{', '.join(names)}] >> {below}" if len(names) > 1 else f"{names[0]} >> {below}")

    def retries(self, outcome):
        if outcome.startswith("fail") and self.chance(0.6):
            return f", retries={self.pick.randint(1, 2)}"
        return ""

    def add(self, variable, above, is_mapped=False, is_sealed=False):
        sealed = is_sealed or any(node.is_sealed for node in above)
        self.nodes.append(Node(variable, is_mapped, sealed))
        return sealed

    def source(self, values):
        name = f"list{len(self.sources) + 1}"
        self.sources.append(f'{name} = outcomes.override(task_id="{name}")({values})')
        return name

    def plain(self):
        name, above, outcome = self.name(), self.above(), self.outcome()
        self.line(f'{name} = step("{name}", "{outcome}"{self.retries(outcome)}{self.rule(above)})')
        self.join(above, name)
        self.add(name, above)

    def hollow(self):
        name, above = self.name(), self.above()
        self.line(f'{name} = empty("{name}"{self.rule(above)})')
        self.join(above, name)
        self.add(name, above)

    def mapped(self):
        name, above = self.name(), self.above()
        values = [[value] for value in self.values()]
        retries = ", retries=1, retry_delay=NO_DELAY" if self.chance(0.4) else ""
        source = self.source(values) if self.chance(0.5) else values
        operator = f'PythonOperator.partial(task_id="{name}", python_callable=act{retries}{self.rule(above)})'
        self.line(f"{name} = {operator}.expand(op_args={source})")
        self.join(above, name)
        self.lists.append((f"{name}.output", self.add(name, above, is_mapped=True)))

    def reduced(self):
        """Takes what the instances of a mapped task returned."""
        if not self.lists:
            return self.mapped()
        name = self.name()
        source, is_sealed = self.pick.choice(self.lists)
        above = [Node(source, True, is_sealed)]
        others = [] if is_sealed else [node for node in self.above() if not node.is_sealed]
        self.line(f'{name} = listed.override(task_id="{name}"{self.rule(above + others)})({source})')
        if others:
            self.join(others, name)
        self.add(name, above)

    def chained(self):
        """Maps over what a mapped task returned."""
        if not self.lists:
            return self.mapped()
        name = self.name()
        source, is_sealed = self.pick.choice(self.lists)
        rules = [rule for rule in self.rules if rule not in HASTY + ["all_skipped"]]
        self.line(f'{name} = do.override(task_id="{name}", trigger_rule="{self.pick.choice(rules)}").expand(outcome={source})')
        self.lists.append((name, self.add(name, [], is_mapped=True, is_sealed=is_sealed)))

    def branch(self):
        name, above = self.name(), self.above()
        ways = [f"{name}_{way}" for way in "abc"[: self.pick.randint(2, 3)]]
        chosen = self.pick.sample(ways, k=self.pick.choice([0, 1, 1, 1, 2]))
        self.line(f'{name} = BranchPythonOperator(task_id="{name}", python_callable=lambda: {chosen}{self.rule(above)})')
        self.join(above, name)
        for way in ways:
            outcome = self.outcome()
            self.line(f'{way} = step("{way}", "{outcome}"{self.retries(outcome)})')
            self.line(f"{name} >> {way}")
            self.add(way, above)

    def circuit(self):
        name, above = self.name(), self.above()
        value, is_hard = self.chance(0.4), self.chance(0.5)
        self.line(
            f'{name} = ShortCircuitOperator(task_id="{name}", python_callable=lambda: {value}, '
            f"ignore_downstream_trigger_rules={is_hard}{self.rule(above)})"
        )
        self.join(above, name)
        self.add(name, above, is_sealed=is_hard)
        for number in range(self.pick.randint(1, 2)):
            below = f"{name}_{number}"
            self.line(f'{below} = step("{below}", "{self.outcome()}")')
            self.line(f"{name} >> {below}")
            self.add(below, above, is_sealed=is_hard)
        if not is_hard:
            self.nodes = [node for node in self.nodes if node.variable != name]

    def scope(self):
        """A setup, work and a teardown."""
        name, above = self.name(), self.above()
        s, t = f"{name}_setup", f"{name}_teardown"
        self.line(f'{s} = step("{s}", "{self.outcome()}"{self.rule(above)})')
        self.line(f'{t} = step("{t}", "{self.outcome()}")')
        works = []
        in_a_row = self.chance(0.5)
        previous = Node(s)
        for number in range(self.pick.randint(1, 3)):
            work = f"{name}_work{number}"
            is_mapped = self.chance(0.3)
            # What follows a setup directly may have no rule of its own.
            rule = self.rule([previous]) if in_a_row and works else ""
            if is_mapped:
                values = [[self.outcome()], [self.outcome()]]
                self.line(f'{work} = PythonOperator.partial(task_id="{work}", python_callable=act{rule}).expand(op_args={values})')
            else:
                self.line(f'{work} = step("{work}", "{self.outcome()}"{rule})')
            works.append(work)
            previous = Node(work, is_mapped)
            self.add(work, above, is_mapped=is_mapped)
        self.join(above, s)
        if in_a_row:
            self.line(f"{' >> '.join([s, *works, t])}")
        else:
            self.line(f"{s} >> [{', '.join(works)}] >> {t}")
        self.line(f"{t}.as_teardown(setups={s}, on_failure_fail_dagrun={self.chance(0.3)})")
        if self.chance(0.3):
            self.add(t, above)

    def group(self):
        """A task group around a few more nodes."""
        name = f"g{self.count + 1}"
        above = self.above()
        if len(above) > 1 or any(node.is_mapped for node in above):
            above = []
        self.line(f'with TaskGroup("{name}", prefix_group_id=False) as {name}:')
        self.depth += 1
        outside, lists, self.nodes, self.lists = self.nodes, self.lists, [], []
        self.in_group = True
        for _ in range(self.pick.randint(2, 3)):
            self.pick.choice([self.plain, self.hollow, self.mapped])()
        self.in_group = False
        self.depth -= 1
        self.join(above, name)
        self.nodes, self.lists = outside, lists
        # Below a group is below several tasks.
        self.add(name, above, is_mapped=True)

    def mapped_group(self):
        name = f"g{self.count + 1}"
        self.count += 1
        above = self.above()
        if len(above) > 1 or any(node.is_mapped for node in above):
            above = []
        self.line("")
        self.line("@task_group")
        self.line(f"def {name}(outcome):")
        self.depth += 1
        self.line('first = do.override(task_id="first")(outcome)')
        previous = ["first"]
        for number in range(self.pick.randint(1, 3)):
            inner = f"n{number}"
            parents = self.pick.sample(previous, k=min(len(previous), self.pick.randint(1, 2)))
            rule = self.rule([Node(parent) for parent in parents])
            if self.chance(0.5):
                self.line(f'{inner} = empty("{inner}"{rule})')
            else:
                self.line(f'{inner} = step("{inner}", "{self.outcome()}"{rule})')
            self.line(f"[{', '.join(parents)}] >> {inner}")
            previous.append(inner)
        self.line("return first")
        self.depth -= 1
        self.line("")
        values = self.values()
        source = self.source(values) if self.chance(0.5) else values or ["ok"]
        self.line(f"{name}_done = {name}.expand(outcome={source})")
        self.join(above, f"{name}_done")
        self.lists.append((f"{name}_done", self.add(f"{name}_done", above, is_mapped=True)))

    def dag(self):
        kinds = [self.plain] * 5 + [self.hollow] * 3 + [self.mapped] * 2 + [self.reduced] * 2 + [self.chained, self.group]
        special = [getattr(self, name) for name in self.specialities]
        self.plain()
        # Two specialities in each, so that they meet in all pairs.
        rest = [self.pick.choice(kinds) for _ in range(self.pick.randint(3, 6))] + self.pick.choices(special, k=2)
        self.pick.shuffle(rest)
        for kind in rest:
            kind()
        retries = self.pick.choice([0, 0, 1])
        return [
            f'with DAG("generated_{self.seed:04}", start_date=START, schedule=None, '
            f'default_args={{"retries": {retries}, "retry_delay": NO_DELAY}}):',
            f"    # {self.flavour}",
            '    begin = empty("begin")',
            *(f"    {source}\n    {source.split()[0]} >> begin" for source in self.sources),
            *self.lines,
        ]


def main():
    folder = pathlib.Path(sys.argv[1])
    if len(sys.argv) > 2:
        first, last = map(int, sys.argv[2].split("-"))
        seeds = list(range(first, last + 1))
    else:
        recorded = (json.loads(line)["dag"] for line in (HERE / "recordings.jsonl").read_text().splitlines())
        seeds = sorted(int(name.rsplit("_", 1)[1]) for name in recorded if name.startswith("generated_"))
    files = {}
    for seed in seeds:
        files.setdefault(seed // PER_FILE * PER_FILE, []).append(seed)
    for start, members in files.items():
        lines = [HEADER]
        for seed in members:
            lines += ["", *Writer(seed).dag()]
        (folder / f"generated_{start:04}.py").write_text("\n".join(lines) + "\n")


main()
