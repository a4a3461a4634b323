//! Every call of Xen's headers with random and boundary arguments (`calls::attack`), from a program in Linux.
//!
//! In the control domain the machine must live on, and once the domains that were made are destroyed, all memory must be
//! free that was before. Elsewhere what is about others must be refused, and nothing of the caller's memory written.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use calls::attack::{Attack, Attempt, Ground};
use calls::probe::{self, Places};
use calls::{Call, answer_name, families};
use rustix::io::Errno;
use xenolith_abi::DomId;
use xenolith_abi::domctl::VERSION_4_17;
use xenolith_abi::hypercall::Hypercall;

use crate::probe::Caller;
use crate::xen::DOM0;

/// Pages to call from; behind them is one that cannot be reached.
const PAGES: usize = 4;
/// The domains that the control domain makes.
const SCRATCH: [u16; 3] = [77, 78, 79];
/// The numbers that domains can have.
const DOMAINS: std::ops::Range<u16> = 1..0x7ff0;
/// Rounds in which destroyed domains may still be going.
const ROUNDS: u32 = 100;
/// How often to look for a domain that is to come, every tenth of a second.
const PATIENCE: u32 = 3000;
/// Calls between two signs of life.
const REPORT: u64 = 10_000;

/// Makes `calls` calls of the attack that the seed stands for, and says how many were refused. `own` is this domain.
pub fn run(seed: u64, calls: u64, own: DomId) -> Result<()> {
    let caller = Caller::with_an_end(PAGES)?;
    let is_control = own == DOM0;
    let next = DomId(own.0 + 1);
    let others = [DOM0, next].map(|domain| domain.0);
    let ground = Ground {
        is_control,
        own,
        buffer: caller.buffer(),
        pages: PAGES as u64,
        victims: if is_control { SCRATCH.into() } else { others.into() },
        domctl_version: VERSION_4_17,
        restrained: true,
    };
    if !is_control {
        wait_for(&caller, next)?;
    }
    let attacker = Attacker { attack: Attack::new(seed, ground), caller, is_control };
    attacker.run(seed, calls)
}

/// Waits until there is such a domain. This one is not its device model, and is told so.
fn wait_for(caller: &Caller, domain: DomId) -> Result<()> {
    const NR_VCPUS: u64 = 20;
    let places = Places { buffer: caller.buffer(), nowhere: 0, domain, domctl_version: VERSION_4_17 };
    let call = probe::call(&places, &families::DM, NR_VCPUS);
    for _ in 0..PATIENCE {
        match caller.make(&call) {
            answer if answer == -i64::from(Errno::SRCH.raw_os_error()) => sleep(Duration::from_millis(100)),
            answer if answer == -i64::from(Errno::PERM.raw_os_error()) => return Ok(()),
            answer => bail!("asking for {domain}: {}", answer_name(answer)),
        }
    }
    bail!("there is no {domain}")
}

struct Attacker {
    attack: Attack,
    caller: Caller,
    is_control: bool,
}

impl Attacker {
    fn run(mut self, seed: u64, calls: u64) -> Result<()> {
        let before = if self.is_control { Some(self.free_memory()?) } else { None };
        let (mut refused, mut forbidden) = (0, 0);
        for number in 0..calls {
            if number % REPORT == 0 {
                eprintln!("attack: call {number}");
            }
            let attempt = self.attack.next_call();
            let result = self.attempt(&attempt).with_context(|| format!("call {number} of seed {seed}"))?;
            refused += u64::from(result < 0);
            forbidden += u64::from(attempt.must_be_refused);
        }
        println!("attack: {calls} calls of seed {seed}, {refused} refused, {forbidden} had to be");
        ensure!(refused < calls, "nothing was answered");
        ensure!(self.is_control || forbidden > calls / 10, "few calls had to be refused");
        let Some(before) = before else { return Ok(()) };
        self.clean()?;
        let after = self.free_memory()?;
        ensure!(after == before, "{after} bytes are free, and were {before} before");
        Ok(())
    }

    fn attempt(&self, attempt: &Attempt) -> Result<i64> {
        let Attempt { call, must_be_refused, .. } = attempt;
        self.caller.put(call);
        let before = must_be_refused.then(|| self.caller.content());
        let result = self.caller.call(call);
        let known = xenolith_abi::Errno::ALL.iter().any(|errno| errno.to_register() as i64 == result);
        ensure!(result >= 0 || known, "{attempt:x?} answers {result}");
        if let Some(before) = before {
            ensure!(result < 0, "{attempt:x?} is not refused");
            ensure!(self.caller.content() == before, "{attempt:x?} wrote to its caller");
        }
        // Linux knows nothing of a port that it has not asked for.
        if let Some(port) = attempt.port.filter(|_| result == 0).and_then(|at| self.caller.read32(at)) {
            let closed = self.caller.make(&self.attack.closing(port));
            ensure!(closed == 0, "closing port {port} of {attempt:x?}: {}", answer_name(closed));
        }
        Ok(result)
    }

    /// Destroys all domains, and waits until they are gone.
    fn clean(&self) -> Result<()> {
        let gone = -i64::from(Errno::SRCH.raw_os_error());
        for _ in 0..ROUNDS {
            let mut left = 0;
            for domain in DOMAINS {
                match self.caller.make(&self.attack.cleaning(DomId(domain))) {
                    0 => left += 1,
                    answer if answer == gone => {}
                    answer => bail!("destroying domain {domain}: {}", answer_name(answer)),
                }
            }
            if left == 0 {
                return Ok(());
            }
        }
        bail!("some domains do not go");
    }

    /// Free memory in bytes.
    fn free_memory(&self) -> Result<u64> {
        const AVAIL_HEAP: u32 = 9;
        const ANSWER: u64 = 24;
        let version = xenolith_abi::sysctl::INTERFACE_VERSION;
        let mut request = [AVAIL_HEAP, version].map(u32::to_le_bytes).concat();
        request.resize(128, 0);
        let buffer = self.caller.buffer();
        let arguments = [buffer, 0, 0, 0, 0];
        let call = Call { number: Hypercall::Sysctl.number(), arguments, memory: vec![(buffer, request)] };
        let answer = self.caller.make(&call);
        ensure!(answer == 0, "asking for free memory: {}", answer_name(answer));
        let half = |at| self.caller.read32(buffer + at).map(u64::from).context("an answer");
        Ok(half(ANSWER)? | half(ANSWER + 4)? << 32)
    }
}
