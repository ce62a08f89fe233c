"""Opens connections at a steady rate until SIGTERM, then says in JSON how they ended.

`storm.py RATE HOST PORT [HOST PORT ...]`: targets take turns; each has to send something and close in order.
"""

import asyncio
import json
import signal
import sys

rate = float(sys.argv[1])
targets = list(zip(sys.argv[2::2], map(int, sys.argv[3::2])))
ended = {"ok": 0}
# Longer than any pause that would be called one.
TIMEOUT_S = 30


async def once(host, port):
    at = "connecting"
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            at = "reading"
            data = await reader.read()
            writer.close()
        how = "ok" if data else "empty"
    except Exception as error:
        how = f"{at}: {type(error).__name__} {error} ({host} {port})"
    ended[how] = ended.get(how, 0) + 1


async def main():
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    running = set()
    start = loop.time()
    count = 0
    print("ready", flush=True)
    while not stop.is_set():
        # Late ones are made up for: what the rate says is opened, whatever the machine does meanwhile.
        while count < (loop.time() - start) * rate:
            task = loop.create_task(once(*targets[count % len(targets)]))
            running.add(task)
            task.add_done_callback(running.discard)
            count += 1
        await asyncio.sleep(1 / rate)
    while running:
        await asyncio.wait(running)
    print(json.dumps(ended), flush=True)


asyncio.run(main())
