//! Two guests beside each other: the first domain measures how late its timer's interrupt comes while it sleeps, the other
//! one does what could delay that. What each plays is a word behind `neighbour=` in its command line.
#![cfg_attr(target_os = "none", no_std, no_main)]

/// Elsewhere than in a measured machine there is nothing to do.
#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod kernel {
    use core::arch::asm;
    use core::fmt::Write;

    use arrayvec::ArrayString;
    use bench_guests::{counter, print};

    /// How often the timer is waited for, and how often before anything is counted.
    const TIMES: u64 = 400;
    const WARM_UP: u64 = 50;
    /// How long each time, in ticks; a little longer each time, so that it ends at any point of what the other one does.
    const WAIT: u64 = 100_000;
    const LONGER: u64 = 37;
    /// When all free memory is wiped for certain, in ticks.
    const WIPED: u64 = 100_000_000;

    /// Hypercalls (Xen's xen.h).
    const MEMORY_OP: u64 = 12;
    const XEN_VERSION: u64 = 17;
    const CONSOLE_IO: u64 = 18;
    const GRANT_TABLE_OP: u64 = 20;
    const EVENT_CHANNEL_OP: u64 = 32;
    const DOMCTL: u64 = 36;
    /// Operations of them (memory.h, event_channel.h, grant_table.h).
    const DECREASE_RESERVATION: u64 = 1;
    const POPULATE_PHYSMAP: u64 = 6;
    const ADD_TO_PHYSMAP: u64 = 7;
    const BIND_INTERDOMAIN: u64 = 0;
    const CLOSE: u64 = 3;
    const SEND: u64 = 4;
    const ALLOC_UNBOUND: u64 = 6;
    const QUERY_SIZE: u64 = 6;
    /// An operation of domctl (domctl.h), the version of its interface, and the mask that is meant.
    const SET_VCPU_AFFINITY: u32 = 9;
    const VERSION: u32 = 0x15;
    const HARD: u32 = 1;
    /// The caller itself (`DOMID_SELF`), the first domain, and the one that starts beside it.
    const SELF: u16 = 0x7ff0;
    const FIRST: u16 = 0;
    const OTHER: u16 = 1;
    /// Where the mask of events begins in the shared info page, and its words.
    const MASK: usize = 48 + 64 * 8;
    const WORDS: usize = 64;

    /// The GICv3 of QEMU's `virt` board: its distributor, and what the redistributor has of private interrupts.
    const DISTRIBUTOR: usize = 0x0800_0000;
    const PRIVATE: usize = 0x080b_0000;
    /// The PL011 that the hypervisor shows the other domain: its data, its flags, and the one that says that it is full.
    const UART: usize = 0x2200_0000;
    const UART_FLAGS: usize = UART + 0x18;
    const FULL: u32 = 1 << 5;
    /// The virtual timer's interrupt, and its control register's bit that says that the time has come.
    const TIMER: u32 = 27;
    const IS_DUE: u64 = 1 << 2;

    /// PSCI's SYSTEM_OFF (DEN0022).
    const SYSTEM_OFF: u64 = 0x8400_0008;
    /// Pages that are given up and taken back at once.
    const BALLOON: usize = 64;

    #[repr(align(4096))]
    struct Pages {
        _bytes: [u8; BALLOON << 12],
    }
    static PAGES: Pages = Pages { _bytes: [0; BALLOON << 12] };

    bench_guests::kernel!(start);

    extern "C" fn start(tree: *const u8) -> ! {
        match Role::of(tree) {
            Some(Role::Neighbour) => measure(),
            Some(role) => role.play(),
            None => print("bench: nothing behind neighbour= in the command line\r\n"),
        }
        loop {
            // SAFETY: the machine ends, or the guest.
            unsafe { asm!("hvc #0", inout("x0") SYSTEM_OFF => _, options(nostack)) };
        }
    }

    #[derive(Clone, Copy)]
    enum Role {
        Neighbour,
        Sleeper,
        Computer,
        Caller,
        Writer,
        Balloon,
        Storm,
    }

    impl Role {
        const NAMES: [(&'static str, Role); 7] = [
            ("measure", Role::Neighbour),
            ("idle", Role::Sleeper),
            ("computes", Role::Computer),
            ("calls", Role::Caller),
            ("console", Role::Writer),
            ("balloon", Role::Balloon),
            ("events", Role::Storm),
        ];

        /// The one that the command line names: the only text in a device tree that begins so.
        fn of(tree: *const u8) -> Option<Role> {
            const MARK: &[u8] = b"neighbour=";
            // SAFETY: the boot protocol puts a device tree there, whose second word is its length, the first byte the highest.
            let length = u32::from_be(unsafe { tree.cast::<u32>().add(1).read() });
            // SAFETY: as long as it says, and nobody changes it.
            let tree = unsafe { core::slice::from_raw_parts(tree, length as usize) };
            let at = tree.windows(MARK.len()).position(|bytes| bytes == MARK)? + MARK.len();
            let rest = tree.get(at..)?;
            Role::NAMES.iter().find(|(name, _)| rest.starts_with(name.as_bytes())).map(|&(_, role)| role)
        }

        fn play(self) {
            let name =
                Role::NAMES.iter().find(|(_, role)| *role as u8 == self as u8).map_or("", |(name, _)| name);
            let mut line = ArrayString::<64>::new();
            // It fits.
            let _ = write!(line, "bench: hostile {name}\r\n");
            print(&line);
            // QEMU has a CPU's turn end whenever that sets the only timer there is: here is another one, which never fires.
            // SAFETY: the timer is this program's, and its interrupt is disabled.
            unsafe {
                let never = counter() + (1 << 40);
                asm!("msr cntv_cval_el0, {}", "msr cntv_ctl_el0, {}", "isb", in(reg) never, in(reg) 1_u64, options(nostack));
            }
            let mut port = None;
            loop {
                match self {
                    Role::Neighbour => return,
                    // SAFETY: only waits.
                    Role::Sleeper => unsafe { asm!("wfi", options(nomem, nostack)) },
                    Role::Computer => (0..1000).for_each(|_| core::hint::black_box(())),
                    Role::Caller => call(),
                    Role::Writer => write_line(),
                    Role::Balloon => balloon(),
                    Role::Storm => {
                        port = port.or_else(connect);
                        for _ in 0..16 {
                            event(SEND, [port.unwrap_or_default(), 0, 0]);
                        }
                    }
                }
                // QEMU, which runs one CPU at a time, runs the other one if that waits for a lock.
                // SAFETY: only a hint.
                unsafe { asm!("yield", options(nomem, nostack)) };
            }
        }
    }

    /// Makes a hypercall.
    fn hypercall(number: u64, arguments: [u64; 4]) -> i64 {
        let mut x0 = arguments[0];
        // SAFETY: the calls here read and write what their arguments point to, and change the first four registers at most.
        unsafe {
            asm!(
                "hvc #0xea1",
                in("x16") number,
                inout("x0") x0,
                inout("x1") arguments[1] => _,
                inout("x2") arguments[2] => _,
                inout("x3") arguments[3] => _,
                options(nostack)
            );
        }
        x0.cast_signed()
    }

    /// An operation on event channels. Returns the words that the argument has then, if it was done.
    fn event(operation: u64, argument: [u32; 3]) -> Option<[u32; 3]> {
        let mut argument = argument;
        let done = hypercall(EVENT_CHANNEL_OP, [operation, &raw mut argument as u64, 0, 0]);
        // SAFETY: the array is ours; the hypervisor has written it behind the compiler.
        (done == 0).then(|| unsafe { (&raw const argument).read_volatile() })
    }

    /// Calls of all kinds, some of which take and give back memory.
    fn call() {
        for _ in 0..8 {
            hypercall(XEN_VERSION, [0; 4]);
            hypercall(u64::MAX, [0; 4]);
            hypercall(CONSOLE_IO, [0, 64, 0, 0]);
        }
        let mut size = [u32::from(SELF), 0, 0, 0];
        hypercall(GRANT_TABLE_OP, [QUERY_SIZE, &raw mut size as u64, 1, 0]);
        // Two numbers of domains in a word: the caller, and who may connect.
        if let Some([_, port, _]) = event(ALLOC_UNBOUND, [u32::from(SELF) | u32::from(FIRST) << 16, 0, 0]) {
            event(CLOSE, [port, 0, 0]);
        }
    }

    /// Writes a line to the UART, one byte as soon as the last one is taken.
    fn write_line() {
        for byte in *b"a line that nobody has asked for\r\n" {
            // SAFETY: the registers of a PL011, at their place in each domain that the hypervisor starts.
            while unsafe { (UART_FLAGS as *const u32).read_volatile() } & FULL != 0 {
                // SAFETY: as where this is called.
                unsafe { asm!("yield", options(nomem, nostack)) };
            }
            // SAFETY: as for reading.
            unsafe { (UART as *mut u32).write_volatile(byte.into()) };
        }
    }

    /// Gives pages up and takes them back.
    fn balloon() {
        let mut frames = [0_u64; BALLOON];
        let first = &raw const PAGES as u64 >> 12;
        for (frame, number) in frames.iter_mut().zip(first..) {
            *frame = number;
        }
        for operation in [DECREASE_RESERVATION, POPULATE_PHYSMAP] {
            // The list, its length, order 0 and no flags, the domain.
            let reservation = [&raw const frames as u64, BALLOON as u64, 0, SELF.into()];
            hypercall(MEMORY_OP, [operation, &raw const reservation as u64, 0, 0]);
        }
    }

    /// Connects to a port that the first domain keeps for it, once there is one.
    fn connect() -> Option<u32> {
        (1..8).find_map(|port| Some(event(BIND_INTERDOMAIN, [FIRST.into(), port, 0])?[2]))
    }

    /// Lets a domain's only vCPU run on one CPU alone.
    fn pin(domain: u16, cpu: u32) -> bool {
        let mask = 1_u64 << cpu;
        let mut call = [0_u64; 18];
        call[0] = u64::from(SET_VCPU_AFFINITY) | u64::from(VERSION) << 32;
        call[1] = domain.into();
        call[2] = u64::from(HARD) << 32;
        call[3] = &raw const mask as u64;
        call[4] = 8;
        hypercall(DOMCTL, [&raw mut call as u64, 0, 0, 0]) == 0
    }

    fn write_word(address: usize, value: u32) {
        // SAFETY: a register of the interrupt controller, whose interrupts are masked.
        unsafe { (address as *mut u32).write_volatile(value) };
    }

    /// Lets the timer's interrupt end a sleep, and nothing else.
    fn begin() {
        write_word(DISTRIBUTOR, 0b11);
        write_word(PRIVATE + 0x80, u32::MAX);
        write_word(PRIVATE + 0x100, 1 << TIMER);
        // SAFETY: the CPU's own interface to its interrupts: all priorities, group 1.
        unsafe {
            asm!("msr icc_sre_el1, {}", "isb", in(reg) 0b111_u64, options(nostack));
            asm!("msr icc_pmr_el1, {}", in(reg) 0xff_u64, options(nostack));
            asm!("msr icc_igrpen1_el1, {}", "isb", in(reg) 1_u64, options(nostack));
        }
        let page = &raw const PAGES as usize;
        // The domain, no size, shared info, its index, the frame.
        let map = [u64::from(SELF), 0, page as u64 >> 12];
        hypercall(MEMORY_OP, [ADD_TO_PHYSMAP, &raw const map as u64, 0, 0]);
        for word in 0..WORDS {
            // SAFETY: the mask of its events, in a page that it shares with the hypervisor.
            unsafe { ((page + MASK) as *mut u64).add(word).write_volatile(u64::MAX) };
        }
        event(ALLOC_UNBOUND, [u32::from(SELF) | u32::from(OTHER) << 16, 0, 0]);
    }

    /// Sleeps until the timer wakes it. Ticks from when it was to be woken to its first instruction then.
    fn latency(wait: u64) -> u64 {
        let due = counter() + wait;
        let mut woken;
        // SAFETY: the timer is this program's, and its interrupt is taken here and ended.
        unsafe {
            asm!("msr cntv_cval_el0, {}", "msr cntv_ctl_el0, {}", "isb", in(reg) due, in(reg) 1_u64, options(nostack));
            loop {
                asm!("wfi", options(nomem, nostack));
                woken = counter();
                let control: u64;
                asm!("mrs {}, cntv_ctl_el0", out(reg) control, options(nomem, nostack));
                if control & IS_DUE != 0 {
                    break;
                }
            }
            asm!("msr cntv_ctl_el0, xzr", "isb", options(nostack));
            let interrupt: u64;
            asm!("mrs {}, icc_iar1_el1", out(reg) interrupt, options(nostack));
            asm!("msr icc_eoir1_el1, {}", "isb", in(reg) interrupt, options(nostack));
        }
        woken.wrapping_sub(due)
    }

    fn measure() {
        // The first CPU: the emulator runs one after the other, and this one first when the timer's time has come.
        if !pin(FIRST, 0) || !pin(OTHER, 1) {
            return print("bench: the domains cannot be kept apart\r\n");
        }
        begin();
        // A CPU that idles wipes the memory that is free: until there is none to wipe.
        latency(WIPED);
        let (mut sum, mut most) = (0, 0);
        for round in 0..WARM_UP + TIMES {
            let ticks = latency(WAIT + round * LONGER);
            if round >= WARM_UP {
                (sum, most) = (sum + ticks, ticks.max(most));
            }
        }
        let mut line = ArrayString::<96>::new();
        // Text and numbers fit.
        let _ = write!(line, "bench: latency {sum} in {TIMES}, at most {most}\r\n");
        print(&line);
    }
}
