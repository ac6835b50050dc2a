"""Stand-in for apt's message_filters: the part of its Python API that the contact node uses."""

from rclpy.time import Time


class SimpleFilter:
    def __init__(self):
        self.callbacks = {}

    def registerCallback(self, callback, *arguments):
        self.callbacks[len(self.callbacks)] = (callback, arguments)
        return len(self.callbacks) - 1

    def signalMessage(self, *message):
        for callback, arguments in self.callbacks.values():
            callback(*message, *arguments)


class Cache(SimpleFilter):
    def __init__(self, f, cache_size=1, allow_headerless=False):
        super().__init__()
        assert not allow_headerless
        self.cache_size = cache_size
        self._messages = []
        f.registerCallback(self.add)

    def add(self, message):
        self._messages = [*self._messages, message][-self.cache_size :]
        self.signalMessage(message)

    def getInterval(self, from_stamp, to_stamp):
        return [m for m in self._messages if from_stamp <= _time(m) <= to_stamp]

    def getElemAfterTime(self, stamp):
        return next((m for m in self._messages if _time(m) >= stamp), None)

    def getElemBeforeTime(self, stamp):
        return next((m for m in reversed(self._messages) if _time(m) <= stamp), None)


class TimeSynchronizer(SimpleFilter):
    def __init__(self, fs, queue_size):
        super().__init__()
        self._queues, self._size, self._calling = [{} for _ in fs], queue_size, False
        for number, each in enumerate(fs):
            each.registerCallback(self._add, number)

    def _add(self, message, number):
        assert not self._calling, 'the real one would wait for its own lock, for ever'
        queue = self._queues[number]
        queue[_time(message).nanoseconds] = message
        while len(queue) > self._size:
            del queue[min(queue)]
        for stamp in sorted(set.intersection(*map(set, self._queues))):
            self._calling = True
            self.signalMessage(*(each.pop(stamp) for each in self._queues))
            self._calling = False


def _time(message):
    return Time.from_msg(message.header.stamp)
