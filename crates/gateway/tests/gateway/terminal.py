# A shell on a terminal that runs lastack: what a person types, and what has to come back.
import fcntl, os, pty, re, select, struct, sys, termios, time

pid, fd = pty.fork()
if pid == 0:
    os.environ.update(PS1='$ ', TERM='dumb')
    os.execvp('bash', ['bash', '--norc', '--noprofile', '-i'])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 33, 77, 0, 0))
seen = b''

def expect(pattern):
    global seen
    until = time.monotonic() + 30
    while not re.search(pattern, seen):
        if not select.select([fd], [], [], max(0, until - time.monotonic()))[0]:
            sys.exit('no %r in %r' % (pattern, seen))
        seen += os.read(fd, 4096)
    seen = seen[re.search(pattern, seen).end():]

def type(text):
    os.write(fd, text.encode())

def answer(command, pattern):
    type(command + '\n')
    expect(pattern)

run = ' '.join(sys.argv[1:]) + ' '
PROMPT = rb'\$ $'
CTRL_C, CTRL_D, CTRL_Z = '\x03', '\x04', '\x1a'

# Says when it has begun and when it goes on, each only then.
waiting = """python3 -S -c "
import signal, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGCONT, lambda *_: print('goes', 'on', flush=True))
print('has', 'begun', flush=True)
time.sleep(1000)\""""

# Window size; Ctrl-Z, fg, Ctrl-C; the status of a program that a signal ended.
answer(run + 'stty size', rb'33 77\r\n')
expect(PROMPT)
answer(run + waiting, rb'has begun')
type(CTRL_Z)
expect(rb'Stopped')
expect(PROMPT)
answer('fg', rb'goes on')
type(CTRL_C)
expect(PROMPT)
answer('echo stat''us $?', rb'status 130')
# A shell inside has jobs of its own.
answer(run + 'bash --norc --noprofile -i', PROMPT)
answer(waiting, rb'has begun')
type(CTRL_Z)
expect(rb'Stopped')
expect(PROMPT)
answer('fg', rb'goes on')
type(CTRL_C)
expect(PROMPT)
answer('echo la''st $?', rb'last 130')
answer('exit 7', PROMPT)
answer("echo stat''us $?", rb'status 7')
# In a pipeline the terminal stays with all of it.
answer('cat | ' + run + "sh -c 'echo go''ing >&2; exec cat' | cat", rb'going')
answer('thr''ough', rb'through\r\nthrough')
type(CTRL_D)
expect(PROMPT)
# Begun in the background, it stops when it reads, and goes on in the foreground.
answer(run + "sh -c 'echo go''ing; read line; echo got $line' &", rb'going\r\n')
# The shell tells of it at its next prompt.
while b'Stopped' not in seen:
    type('\n')
    if select.select([fd], [], [], 0.1)[0]:
        seen += os.read(fd, 4096)
answer('fg', rb'read line')
answer('hello', rb'got hello')
type('exit\n')
os.waitpid(pid, 0)
print('ok')
