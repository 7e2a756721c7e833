"""filter.py CALL ERROR PROGRAM...: the program under a seccomp filter that answers one system call with an error.

Old container engines answer EPERM to calls that they do not know; any other error is what a failing disk or a used-up
limit would give. The numbers of the calls are those of the machine's kind.
"""
import ctypes, errno, os, platform, struct, sys

CALLS = {
    "x86_64": {"clone3": 435, "fdatasync": 75, "fsync": 74, "statx": 332, "faccessat2": 439, "openat2": 437},
    "aarch64": {"clone3": 435, "fdatasync": 83, "fsync": 82, "statx": 291, "faccessat2": 439, "openat2": 437},
}
call, answer = CALLS[platform.machine()][sys.argv[1]], getattr(errno, sys.argv[2])
# Load the number; if it is the call, return the error; else allow (seccomp(2)).
code = ((0x20, 0, 0, 0), (0x15, 0, 1, call), (6, 0, 0, 0x50000 | answer), (6, 0, 0, 0x7FFF0000))
instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


libc = ctypes.CDLL(None, use_errno=True)
program = Program(len(code), ctypes.addressof(instructions))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
    sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[3], sys.argv[3:])
