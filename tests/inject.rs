//! Makes another process call the system, to see what it may do: from outside, so that the program needs no code for it.

use nix::{
    errno::Errno,
    sys::{
        ptrace,
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{thread, time::Duration};

/// An argument of a system call.
#[derive(Clone, Copy)]
pub enum Argument<'a> {
    /// A number.
    Number(i64),
    /// Bytes whose address is passed.
    Bytes(&'a [u8]),
    /// The same for a name, which gets its final zero.
    Name(&'a str),
}

/// The instruction `syscall`.
const SYSCALL: i64 = 0x050f;
/// How far below the stack's end bytes are put: beyond the red zone of 128.
const BELOW: u64 = 8192;

/// What the call returns in the process. It must come to wait in a system call, as an idle process does; that call
/// goes on afterwards.
pub fn inject(pid: i32, call: i64, arguments: &[Argument]) -> Result<i64, Errno> {
    let pid = Pid::from_raw(pid);
    for _ in 0..200 {
        ptrace::attach(pid).expect("root may trace");
        wait_for(pid, Signal::SIGSTOP);
        let registers = ptrace::getregs(pid).unwrap();
        // The process has just passed the instruction of the call it waits in; it serves again. Writing an instruction
        // instead would hit other threads that run the same code.
        let passed = read(pid, registers.rip - 2) & 0xffff == SYSCALL;
        let result = passed.then(|| call_from(pid, registers, call, arguments));
        ptrace::detach(pid, None).unwrap();
        if let Some(result) = result {
            return if result < 0 { Err(Errno::from_raw(-result as i32)) } else { Ok(result) };
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("process {pid} never waits");
}

fn call_from(pid: Pid, before: libc::user_regs_struct, call: i64, arguments: &[Argument]) -> i64 {
    let mut registers = before;
    let mut free = before.rsp - BELOW;
    let mut values = [0; 6];
    for (value, argument) in values.iter_mut().zip(arguments) {
        *value = match argument {
            Argument::Number(number) => *number as u64,
            Argument::Bytes(bytes) => put(pid, &mut free, bytes),
            Argument::Name(name) => put(pid, &mut free, format!("{name}\0").as_bytes()),
        };
    }
    [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = values;
    registers.rip -= 2;
    registers.rax = call as u64;
    // No call is being restarted while this one is made.
    registers.orig_rax = u64::MAX;
    ptrace::setregs(pid, registers).unwrap();
    ptrace::step(pid, None).unwrap();
    wait_for(pid, Signal::SIGTRAP);
    let result = ptrace::getregs(pid).unwrap().rax as i64;
    ptrace::setregs(pid, before).unwrap();
    result
}

/// Puts bytes on the stack and returns where.
fn put(pid: Pid, free: &mut u64, bytes: &[u8]) -> u64 {
    let start = (*free - bytes.len() as u64) & !15;
    for (at, chunk) in (start..).step_by(8).zip(bytes.chunks(8)) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        ptrace::write(pid, at as ptrace::AddressType, i64::from_ne_bytes(word)).unwrap();
    }
    *free = start - 16;
    start
}

fn read(pid: Pid, address: u64) -> i64 {
    ptrace::read(pid, address as ptrace::AddressType).unwrap()
}

fn wait_for(pid: Pid, signal: Signal) {
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::Stopped(_, stopped) if stopped == signal => return,
            WaitStatus::Stopped(_, other) => ptrace::cont(pid, other).unwrap(),
            other => panic!("the traced process did not stop: {other:?}"),
        }
    }
}

/// A line of /proc/PID/status, without its name.
pub fn status(pid: i32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).split_whitespace().collect::<Vec<_>>().join(" ")
}
