"""syslog-ng with a reliable buffer on disk before an output over HTTP."""

from agents import LineSender

CONFIG = """@version: 3.38
options {{ keep-hostname(yes); time-reopen(1); stats-freq(0); }};
source s {{ network(ip("127.0.0.2") port(5140) transport("tcp") log-msg-size(8192)); }};
destination d {{
  http(
    url("http://{receiver}/v1/logs") method("POST") body-suffix("\\n") body("$MESSAGE") batch-lines(500) batch-timeout(100)
    retries(100000) disk-buffer(reliable(yes) mem-buf-size(1048576) disk-buf-size(536870912) dir("{state}"))
  );
}};
log {{ source(s); destination(d); flags(flow-control); }};
"""


class SyslogNg(LineSender):
    name, needs = "syslog-ng, reliable", "syslog-ng: apt-get install syslog-ng-core syslog-ng-mod-http"
    program = "syslog-ng"

    def command(self, tools, work, state, receiver):
        (work / "conf").write_text(CONFIG.format(state=state, receiver=receiver))
        files = ["-R", state / "persist", "-c", work / "control", "-p", work / "pid"]
        return [self.is_there(), "-F", "--no-caps", "-f", work / "conf", *files]
