/* SPDX-License-Identifier: BSD-3-Clause */
#include "config/schema.h"

#include "bdev/bdev.h"
#include "controller/target.h"
#include "device/scsi/scsi.h"

#define MIB_MAX		((UINT64_C(1) << 43) - 1) /* bytes still fit a signed 64-bit number */
#define LUNS_MAX	65536
#define BLOCK_SIZE_MAX	65536
#define BLK_QUEUES_MAX	256 /* device/blk.h */
#define SCSI_QUEUES_MAX 254 /* device/scsi/scsi.h */

#define TEXT(key)                               \
	{                                       \
		.name = (key), .kind = KEY_TEXT \
	}
#define BOOL(key)                               \
	{                                       \
		.name = (key), .kind = KEY_BOOL \
	}
#define MASK(key)                               \
	{                                       \
		.name = (key), .kind = KEY_MASK \
	}
#define NUMBER(key, lowest, highest)                                                 \
	{                                                                            \
		.name = (key), .kind = KEY_NUMBER, .min = (lowest), .max = (highest) \
	}
#define WORDS(key, from, to, text)                                                        \
	{                                                                                 \
		.name = (key), .kind = KEY_WORDS, .words_min = (from), .words_max = (to), \
		.shape = (text)                                                           \
	}
#define IGNORED(key)                                                 \
	{                                                            \
		.name = (key), .kind = KEY_ANY, .use = KEY_NO_EFFECT \
	}
#define NOT_YET(key)                                                     \
	{                                                                \
		.name = (key), .kind = KEY_ANY, .use = KEY_NO_EFFECT_YET \
	}
#define UNAVAILABLE(key)                                               \
	{                                                              \
		.name = (key), .kind = KEY_ANY, .use = KEY_UNAVAILABLE \
	}
#define LAST                 \
	{                    \
		.name = NULL \
	}

static const struct schema_key global_keys[] = {
	MASK("ReactorMask"),
	IGNORED("Comment"),
	/* Labels of a shared memory area for trace points, which this program does not have. */
	IGNORED("SharedMemoryID"),
	IGNORED("InstanceID"),
	NOT_YET("TpointGroupMask"),
	/* No PCI device is ever touched. */
	IGNORED("NoPci"),
	LAST,
};

static const struct schema_key rpc_keys[] = { BOOL("Enable"), TEXT("Listen"), LAST };

static const struct schema_key ioat_keys[] = {
	{ .name = "Disable", .kind = KEY_BOOL, .use = KEY_NO_EFFECT },
	NOT_YET("Whitelist"),
	NOT_YET("Enable"),
	LAST,
};

static const struct schema_key scsi_keys[] = {
	NUMBER("MaxUnmapLbaCount", 0, UINT32_MAX),
	NUMBER("MaxUnmapBlockDescriptorCount", 0, UINT32_MAX),
	NUMBER("OptimalUnmapGranularity", 0, UINT32_MAX),
	NUMBER("UnmapGranularityAlignment", 0,
	       INT32_MAX), /* the top bit of the field is Ugavalid */
	BOOL("Ugavalid"),
	NUMBER("MaxWriteSameLength", 0, UINT32_MAX),
	LAST,
};

static const struct schema_key malloc_keys[] = {
	NUMBER("NumberOfLuns", 1, LUNS_MAX),
	NUMBER("LunSizeInMB", 1, MIB_MAX),
	NUMBER("BlockSize", 0, BLOCK_SIZE_MAX),
	LAST,
};

static const struct schema_key null_keys[] = {
	WORDS("Dev", 2, 3, "<name> <size in MiB> [<block size>]"),
	LAST,
};

static const struct schema_key aio_keys[] = {
	WORDS("AIO", 2, 3, "<file> <name> [<block size>]"),
	LAST,
};

static const struct schema_key nvme_keys[] = {
	UNAVAILABLE("TransportID"),
	/* How the devices behave: without them it means nothing. */
	IGNORED("RetryCount"),
	IGNORED("NvmeRetryCount"),
	IGNORED("Timeout"),
	IGNORED("NvmeTimeoutValue"),
	IGNORED("ActionOnTimeout"),
	IGNORED("ResetControllerOnTimeout"),
	IGNORED("AdminPollRate"),
	IGNORED("HotplugEnable"),
	IGNORED("HotplugPollRate"),
	IGNORED("HotplugPollCore"),
	/* Names of before 17.07. */
	UNAVAILABLE("BDF"),
	UNAVAILABLE("ClaimAllDevices"),
	IGNORED("UnbindFromKernel"),
	LAST,
};

static const struct schema_key ceph_keys[] = { UNAVAILABLE("Ceph"), LAST };
static const struct schema_key split_keys[] = { UNAVAILABLE("Split"), LAST };
static const struct schema_key gpt_keys[] = { BOOL("Disable"), LAST };
static const struct schema_key bdev_error_keys[] = { UNAVAILABLE("BdevError"), LAST };
static const struct schema_key pmem_keys[] = { UNAVAILABLE("Blk"), LAST };

/* Of every kind of controller. */
#define QOS_KEYS                                                  \
	NUMBER("CoalescingDelayUs", 0, CONTROLLER_MAX_DELAY_US),  \
		NUMBER("CoalescingIopsThreshold", 0, UINT32_MAX), \
		NUMBER("LimitIosPerSec", 0, UINT32_MAX),          \
		NUMBER("LimitMbytesPerSec", 0, UINT32_MAX)

static const struct schema_key vhost_scsi_keys[] = {
	TEXT("Name"),
	WORDS("Dev", 2, 2, "<target number 0..7> <bdev>"),
	WORDS("Target", 2, 2, "<target number 0..7> <bdev>"), /* the name of it since 18.10 */
	MASK("Cpumask"),
	NUMBER("Queues", 1, SCSI_QUEUES_MAX),
	QOS_KEYS,
	LAST,
};

static const struct schema_key vhost_blk_keys[] = {
	TEXT("Name"),
	TEXT("Dev"),
	BOOL("ReadOnly"),
	MASK("Cpumask"),
	TEXT("Serial"),
	/* as above */
	NUMBER("Queues", 1, BLK_QUEUES_MAX),
	QOS_KEYS,
	LAST,
};

static const struct schema_key vhost_nvme_keys[] = {
	UNAVAILABLE("Name"),
	UNAVAILABLE("Namespace"),
	IGNORED("NumberOfQueues"),
	IGNORED("Cpumask"),
	LAST,
};

const struct schema_section schema_sections[] = {
	{ "Global", SECTION_GLOBAL, false, NULL, global_keys },
	{ "Rpc", SECTION_RPC, false, NULL, rpc_keys },
	{ "Ioat", SECTION_IOAT, false, NULL, ioat_keys },
	{ "Scsi", SECTION_SCSI, false, NULL, scsi_keys },
	{ "Malloc", SECTION_MALLOC, false, NULL, malloc_keys },
	{ "Null", SECTION_NULL, false, NULL, null_keys },
	{ "AIO", SECTION_AIO, false, NULL, aio_keys },
	{ "Nvme", SECTION_NVME, false, "NVMe bdevs", nvme_keys },
	{ "Ceph", SECTION_CEPH, false, "Ceph RBD bdevs", ceph_keys },
	{ "Split", SECTION_SPLIT, false, "split bdevs", split_keys },
	{ "Gpt", SECTION_GPT, false, NULL, gpt_keys },
	{ "BdevError", SECTION_BDEV_ERROR, false, "error-injection bdevs", bdev_error_keys },
	{ "Pmem", SECTION_PMEM, false, "persistent memory bdevs", pmem_keys },
	{ "VhostScsi", SECTION_VHOST_SCSI, true, NULL, vhost_scsi_keys },
	{ "VhostBlk", SECTION_VHOST_BLK, true, NULL, vhost_blk_keys },
	{ "VhostNvme", SECTION_VHOST_NVME, true, "vhost NVMe controllers", vhost_nvme_keys },
	{ NULL },
};
