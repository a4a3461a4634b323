//! The boards, as QEMU's models have them.

use super::{Board, Firmware, Gic, Start, Uart};

const STDIO: &[&str] = &["-serial", "stdio"];

/// Zynq UltraScale+: the GIC-400 whose pages repeat, and Cadence's UART. As in the trees of real boards, the frames of GICC, GICH
/// and GICV are as large as their copies reach.
pub const ZCU102: Board = Board {
    machine: "xlnx-zcu102,virtualization=on,secure=off",
    arguments: STDIO,
    all_cpus: None,
    needs_newer: false,
    compatible: &["xlnx,zynqmp-zcu102", "xlnx,zynqmp"],
    cpu: "arm,cortex-a53",
    memory_mib: 2048,
    memory: &[(0, 2048 << 20)],
    modules_at: 0x1000_0000,
    firmware: Firmware::Psci,
    gic: Gic::V2([
        (0xf901_0000, 0x1_0000),
        (0xf902_0000, 0x2_0000),
        (0xf904_0000, 0x2_0000),
        (0xf906_0000, 0x2_0000),
    ]),
    uart: Uart {
        compatible: &["xlnx,zynqmp-uart", "cdns,uart-r1p12"],
        registers: (0xff00_0000, 0x1000),
        spi: 21,
        properties: &[],
    },
    start: Start::Kernel,
};

/// Versal: a GICv3, and a PL011.
pub const VERSAL: Board = Board {
    machine: "xlnx-versal-virt",
    arguments: STDIO,
    all_cpus: Some(4),
    needs_newer: false,
    compatible: &["xlnx,versal-virt"],
    cpu: "arm,cortex-a72",
    memory_mib: 2048,
    memory: &[(0, 2048 << 20)],
    modules_at: 0x1000_0000,
    firmware: Firmware::Psci,
    gic: Gic::V3([(0xf900_0000, 0x1_0000), (0xf908_0000, 0x4_0000)]),
    uart: Uart {
        compatible: &["arm,pl011", "arm,primecell"],
        registers: (0xff00_0000, 0x1000),
        spi: 18,
        properties: &[],
    },
    start: Start::Kernel,
};

/// QEMU's own board with a 16550 as its console: a PCI card behind the window to I/O ports, at port 0x1000. Firmware would have
/// given the card that port, and switched its decoder on.
pub const VIRT_16550: Board = Board {
    machine: "virt,virtualization=on,gic-version=3,highmem=off",
    arguments: &[
        "-cpu",
        "cortex-a57",
        "-serial",
        "none",
        "-chardev",
        "stdio,id=card",
        "-device",
        "pci-serial,chardev=card,addr=2",
    ],
    all_cpus: None,
    needs_newer: false,
    compatible: &["linux,dummy-virt"],
    cpu: "arm,cortex-a57",
    memory_mib: 1024,
    memory: &[(0x4000_0000, 1024 << 20)],
    modules_at: 0x5000_0000,
    firmware: Firmware::Psci,
    gic: Gic::V3([(0x0800_0000, 0x1_0000), (0x080a_0000, 0xf6_0000)]),
    uart: Uart { compatible: &["ns16550a"], registers: (0x3eff_1000, 8), spi: 5, properties: &[] },
    start: Start::Stores(0x4020_0000, &[(0x3f01_0010, 0x1000), (0x3f01_0004, 1)]),
};

/// Arm's Server Base System Architecture. Its firmware must be brought along: ours, at EL3.
pub const SBSA: Board = Board {
    machine: "sbsa-ref",
    // QEMU's data for the display card that it always has are in a package which is not needed otherwise.
    arguments: &["-serial", "stdio", "-global", "VGA.romfile="],
    all_cpus: None,
    needs_newer: false,
    compatible: &["linux,sbsa-ref"],
    cpu: "arm,neoverse-n1",
    memory_mib: 2048,
    memory: &[(0x100_0000_0000, 2048 << 20)],
    modules_at: 0x100_1000_0000,
    firmware: Firmware::Psci,
    gic: Gic::V3([(0x4006_0000, 0x1_0000), (0x4008_0000, 0x400_0000)]),
    uart: Uart {
        compatible: &["arm,sbsa-uart"],
        registers: (0x6000_0000, 0x1000),
        spi: 1,
        properties: &[("current-speed", 115_200)],
    },
    start: Start::Firmware(0x100_0020_0000),
};

/// NXP's i.MX 8M Plus EVK: a GICv3, and a UART of the i.MX kind.
pub const IMX8MP: Board = Board {
    machine: "imx8mp-evk",
    arguments: STDIO,
    all_cpus: None,
    needs_newer: true,
    compatible: &["fsl,imx8mp-evk", "fsl,imx8mp"],
    cpu: "arm,cortex-a53",
    memory_mib: 2048,
    memory: &[(0x4000_0000, 2048 << 20)],
    modules_at: 0x6000_0000,
    firmware: Firmware::Psci,
    gic: Gic::V3([(0x3880_0000, 0x1_0000), (0x3888_0000, 0xc_0000)]),
    uart: Uart {
        compatible: &["fsl,imx8mp-uart", "fsl,imx6q-uart"],
        registers: (0x3086_0000, 0x1_0000),
        spi: 26,
        properties: &[],
    },
    start: Start::Kernel,
};

/// Raspberry Pi 4: a GIC-400, CPUs without PSCI, and as its console the mini UART.
pub const RASPI4B: Board = Board {
    machine: "raspi4b",
    arguments: &["-serial", "null", "-serial", "stdio"],
    all_cpus: None,
    needs_newer: true,
    compatible: &["raspberrypi,4-model-b", "brcm,bcm2711"],
    cpu: "arm,cortex-a72",
    memory_mib: 2048,
    memory: &[(0, 0x3c00_0000), (0x4000_0000, 0x4000_0000)],
    modules_at: 0x1000_0000,
    firmware: Firmware::SpinTable(&[0xd8, 0xe0, 0xe8, 0xf0]),
    gic: Gic::V2([
        (0xff84_1000, 0x1000),
        (0xff84_2000, 0x2000),
        (0xff84_4000, 0x2000),
        (0xff84_6000, 0x2000),
    ]),
    uart: Uart {
        compatible: &["brcm,bcm2835-aux-uart"],
        registers: (0xfe21_5040, 0x40),
        spi: 93,
        properties: &[],
    },
    start: Start::Kernel,
};
