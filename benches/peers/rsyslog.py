"""rsyslog with a queue on disk, whose files are synced, before an output over TCP: Debian's build has none of HTTP."""

from agents import LineSender

CONFIG = """
global(workDirectory="{state}" maxMessageSize="8k")
main_queue(queue.type="Direct")
module(load="imptcp")
input(type="imptcp" address="127.0.0.2" port="5140")
action(
  type="omfwd" target="{host}" port="{port}" protocol="tcp" template="RSYSLOG_FileFormat"
  action.resumeRetryCount="-1" action.resumeInterval="1" action.resumeIntervalMax="1"
  queue.type="Disk" queue.filename="records" queue.checkpointInterval="1" queue.syncQueueFiles="on"
  queue.maxDiskSpace="1g" queue.saveOnShutdown="on"
)
"""


class Rsyslog(LineSender):
    name, needs = "rsyslog, disk queue", "rsyslog: apt-get install rsyslog"
    program = "rsyslogd"

    def command(self, tools, work, state, receiver):
        host, port = receiver.split(":")
        (work / "conf").write_text(CONFIG.format(state=state, host=host, port=port))
        return [self.is_there(), "-n", "-f", work / "conf", "-i", work / "pid"]
