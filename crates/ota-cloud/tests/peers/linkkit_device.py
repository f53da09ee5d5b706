"""A device made with the vendor's Python SDK: signs on, reports a version, takes
an upgrade (pushed, or asked for), downloads it, reports the new version.

usage: linkkit_device.py PORT PK DN DS push|pull FILE
"""

import queue
import sys

from linkkit import linkkit


def main():
    port, pk, dn, ds, way, path = sys.argv[1:]
    connected, offers = queue.Queue(), queue.Queue()
    lk = linkkit.LinkKit(
        host_name="127.0.0.1", product_key=pk, device_name=dn, device_secret=ds
    )
    lk.config_mqtt(port=int(port), secure="", endpoint="127.0.0.1")
    lk.on_connect = lambda flag, rc, user: connected.put(rc)
    lk.on_ota_message_arrived = lambda *offer: offers.put(offer)
    lk.connect_async()
    rc = connected.get(timeout=20)
    print("connect", rc, flush=True)
    if rc != 0:
        return 1
    lk.ota_report_version(None, "1.0.0")
    if way == "pull":
        lk.query_ota_firmware()
    kind, version, size, url, method, sign, module, extra = offers.get(timeout=20)
    print("offer", kind, version, size, method, sign, module, flush=True)
    code = lk.download_ota_firmware(url, path, method, sign)
    print("download", code, flush=True)
    if code != linkkit.LinkKit.ErrorCode.SUCCESS:
        return 1
    lk.ota_report_version(None, version)
    print("waiting", flush=True)
    sys.stdin.read()
    lk.disconnect()
    return 0


sys.exit(main())
