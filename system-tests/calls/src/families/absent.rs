//! Families that a Xen can be built without.

use super::{Family, Form, Sub};

/// `xsm_op` (`public/xsm/flask_op.h`).
pub const XSM: Family = Family {
    name: "xsm_op",
    number: 27,
    header: "xsm/flask_op.h",
    form: Form::Xsm,
    subs: &[
        Sub::new(1, "FLASK_LOAD"),
        Sub::new(2, "FLASK_GETENFORCE"),
        Sub::new(3, "FLASK_SETENFORCE"),
        Sub::new(4, "FLASK_CONTEXT_TO_SID"),
        Sub::new(5, "FLASK_SID_TO_CONTEXT"),
        Sub::new(6, "FLASK_ACCESS"),
        Sub::new(7, "FLASK_CREATE"),
        Sub::new(8, "FLASK_RELABEL"),
        Sub::new(9, "FLASK_USER"),
        Sub::new(10, "FLASK_POLICYVERS"),
        Sub::new(11, "FLASK_GETBOOL"),
        Sub::new(12, "FLASK_SETBOOL"),
        Sub::new(13, "FLASK_COMMITBOOLS"),
        Sub::new(14, "FLASK_MLS"),
        Sub::new(15, "FLASK_DISABLE"),
        Sub::new(16, "FLASK_GETAVC_THRESHOLD"),
        Sub::new(17, "FLASK_SETAVC_THRESHOLD"),
        Sub::new(18, "FLASK_AVC_HASHSTATS"),
        Sub::new(19, "FLASK_AVC_CACHESTATS"),
        Sub::new(20, "FLASK_MEMBER"),
        Sub::new(21, "FLASK_ADD_OCONTEXT"),
        Sub::new(22, "FLASK_DEL_OCONTEXT"),
        Sub::new(23, "FLASK_GET_PEER_SID"),
        Sub::new(24, "FLASK_RELABEL_DOMAIN"),
        Sub::new(25, "FLASK_DEVICETREE_LABEL"),
    ],
};

/// `nmi_op` (`public/nmi.h`).
pub const NMI: Family = Family {
    name: "nmi_op",
    number: 28,
    header: "nmi.h",
    form: Form::Pointer,
    subs: &[Sub::new(0, "XENNMI_register_callback"), Sub::new(1, "XENNMI_unregister_callback")],
};

/// `callback_op` (`public/callback.h`).
pub const CALLBACK: Family = Family {
    name: "callback_op",
    number: 30,
    header: "callback.h",
    form: Form::Pointer,
    subs: &[Sub::new(0, "CALLBACKOP_register"), Sub::new(1, "CALLBACKOP_unregister")],
};

/// `kexec_op` (`public/kexec.h`).
pub const KEXEC: Family = Family {
    name: "kexec_op",
    number: 37,
    header: "kexec.h",
    form: Form::Pointer,
    subs: &[
        Sub::new(0, "KEXEC_CMD_kexec"),
        Sub::new(1, "KEXEC_CMD_kexec_load_v1"),
        Sub::new(2, "KEXEC_CMD_kexec_unload_v1"),
        Sub::new(3, "KEXEC_CMD_kexec_get_range"),
        Sub::new(4, "KEXEC_CMD_kexec_load"),
        Sub::new(5, "KEXEC_CMD_kexec_unload"),
        Sub::new(6, "KEXEC_CMD_kexec_status"),
    ],
};

/// `argo_op` (`public/argo.h`).
pub const ARGO: Family = Family {
    name: "argo_op",
    number: 39,
    header: "argo.h",
    form: Form::Pointer,
    subs: &[
        Sub::new(1, "XEN_ARGO_OP_register_ring"),
        Sub::new(2, "XEN_ARGO_OP_unregister_ring"),
        Sub::new(3, "XEN_ARGO_OP_sendv"),
        Sub::new(4, "XEN_ARGO_OP_notify"),
    ],
};

/// `xenpmu_op` (`public/pmu.h`).
pub const PMU: Family = Family {
    name: "xenpmu_op",
    number: 40,
    header: "pmu.h",
    form: Form::Pointer,
    subs: &[
        Sub::new(0, "XENPMU_mode_get"),
        Sub::new(1, "XENPMU_mode_set"),
        Sub::new(2, "XENPMU_feature_get"),
        Sub::new(3, "XENPMU_feature_set"),
        Sub::new(4, "XENPMU_init"),
        Sub::new(5, "XENPMU_finish"),
        Sub::new(6, "XENPMU_lvtpc_set"),
        Sub::new(7, "XENPMU_flush"),
    ],
};

/// `hypfs_op` (`public/hypfs.h`).
pub const HYPFS: Family = Family {
    name: "hypfs_op",
    number: 42,
    header: "hypfs.h",
    form: Form::Pointer,
    subs: &[
        Sub::new(0, "XEN_HYPFS_OP_get_version"),
        Sub::new(1, "XEN_HYPFS_OP_read"),
        Sub::new(2, "XEN_HYPFS_OP_write_contents"),
    ],
};
