"""Ansible callback of the proof of kills: the controller dies, as if its machine lost its power, where a task begins.

KILL_AT says where: the number of the task, counted from 1 as they begin, or the name of one. KILL_NOTE is a file that
gets what it was, as JSON: at (number), play, batch (counted from 1 where a play runs host by host), task. With an empty
KILL_AT the controller lives, and the file gets every task as a list, each with `changed`: whether it did, on any host.
The fleet's lock and a drain's lease count, too, though the plays do not call it a change that they take or renew one.
"""

import json
import multiprocessing
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase  # type: ignore[import-untyped]


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """What Ansible loads."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kill_at"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._where = os.environ["KILL_AT"]
        self._note = Path(os.environ["KILL_NOTE"])
        self._tasks: list[dict[str, Any]] = []
        self._play = ""
        self._batches: Counter[str] = Counter()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play = play.get_name()
        self._batches[self._play] += 1

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._begins(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._begins(task)

    def v2_runner_on_ok(self, result: Any) -> None:
        if result.is_changed():
            self._tasks[-1]["changed"] = True

    def v2_playbook_on_stats(self, stats: Any) -> None:
        if not self._where:
            self._note.write_text(json.dumps(self._tasks), encoding="utf-8")

    def _begins(self, task: Any) -> None:
        at = len(self._tasks) + 1
        note = {"at": at, "play": self._play, "batch": self._batches[self._play], "task": task.get_name()}
        self._tasks.append(note | {"changed": task.action == "fleet_lock" or "Renew | " in task.get_name()})
        if not self._where or self._where not in (str(at), task.name):
            return
        self._note.write_text(json.dumps(note), encoding="utf-8")
        for child in multiprocessing.active_children():
            child.kill()
        os.kill(os.getpid(), signal.SIGKILL)
