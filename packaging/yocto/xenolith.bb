SUMMARY = "Xenolith: a type-1 hypervisor, its command line and its daemon"
DESCRIPTION = "Builds the hypervisor, lith and lithd from a checkout, by cargo xtask dist."
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE-MIT;md5=dc68f1951f1513698d4c9b3ddcf1ee4d \
                    file://LICENSE-APACHE;md5=514b7f7d657bbc14e06fe161771390c4"

# In local.conf: XENOLITH_CHECKOUT = "/path/to/xenolith"
XENOLITH_CHECKOUT ?= ""
EXTERNALSRC = "${XENOLITH_CHECKOUT}"
EXTERNALSRC_BUILD = "${XENOLITH_CHECKOUT}"

inherit externalsrc systemd deploy

COMPATIBLE_HOST = "aarch64.*-linux"

# The build host's own Rust and its cross compiler build it, and crates come by the network.
do_compile[network] = "1"
XENOLITH_PATH ?= "${HOME}/.cargo/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

do_configure[noexec] = "1"

do_compile() {
    env -i HOME="${HOME}" PATH="${XENOLITH_PATH}" cargo xtask dist --files
}

do_install() {
    for package in xenolith-hypervisor lith lithd; do
        cp -R --no-preserve=ownership ${S}/target/dist/$package/. ${D}/
    done
    # Where /lib is a folder of its own, units are looked for there.
    if [ "${systemd_system_unitdir}" != /usr/lib/systemd/system ]; then
        install -d ${D}${systemd_system_unitdir}
        mv ${D}/usr/lib/systemd/system/* ${D}${systemd_system_unitdir}/
        rmdir -p --ignore-fail-on-non-empty ${D}/usr/lib/systemd/system
    fi
}

do_deploy() {
    install -m 0644 ${S}/target/dist/xenolith-hypervisor/boot/xenolith.img ${DEPLOYDIR}/
}
addtask deploy after do_install before do_build

PACKAGES = "lith lithd ${PN}-symbols ${PN}-doc ${PN}"
FILES:lith = "${bindir}/lith ${sysconfdir}/lith ${systemd_system_unitdir}/lith-guests.service \
              ${datadir}/bash-completion/completions/lith ${datadir}/zsh/vendor-completions/_lith \
              ${datadir}/fish/vendor_completions.d/lith.fish"
FILES:lithd = "${sbindir}/lithd ${nonarch_libdir}/modprobe.d ${systemd_system_unitdir}/lithd.service \
               ${datadir}/bash-completion/completions/lithd ${datadir}/zsh/vendor-completions/_lithd \
               ${datadir}/fish/vendor_completions.d/lithd.fish"
FILES:${PN} = "/boot/xenolith.img"
FILES:${PN}-symbols = "${nonarch_libdir}/xenolith"

SYSTEMD_PACKAGES = "lith lithd"
SYSTEMD_SERVICE:lith = "lith-guests.service"
SYSTEMD_SERVICE:lithd = "lithd.service"

# Static programs for arm64, without symbols, and a file for bare metal.
INSANE_SKIP:lith = "already-stripped"
INSANE_SKIP:lithd = "already-stripped"
INSANE_SKIP:${PN}-symbols = "arch"
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_SYSROOT_STRIP = "1"
