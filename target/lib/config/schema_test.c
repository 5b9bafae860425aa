/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "config/schema.h"

struct refusal {
	const char *text;
	const char *reason; /* whole */
};

static const struct refusal refusals[] = {
	{ "[Vhostblck0]\n", "t.conf:1: unknown section [Vhostblck0]; did you mean [VhostBlk0]?" },
	{ "\n[Globl]\n", "t.conf:2: unknown section [Globl]; did you mean [Global]?" },
	{ "[iSCSI]\n", "t.conf:1: unknown section [iSCSI]; did you mean [Scsi]?" },
	{ "[Foo]\n", "t.conf:1: unknown section [Foo]; vhost.conf(5) lists the sections" },
	{ "[TargetNode1]\n",
	  "t.conf:1: unknown section [TargetNode1]; vhost.conf(5) lists the sections" },
	{ "[VhostBlk0]\n\nReadonli yes\n",
	  "t.conf:3: unknown key 'Readonli' in section [VhostBlk0]; did you mean 'ReadOnly'?" },
	{ "[VhostScsi0]\nReadOnly yes\n",
	  "t.conf:2: unknown key 'ReadOnly' in section [VhostScsi0]; vhost.conf(5) lists its keys" },
	{ "[VhostBlk]\n",
	  "t.conf:1: section [VhostBlk] has non-numeric suffix: write [VhostBlk0], [VhostBlk1]..." },
	{ "[VhostScsiA]\n", "t.conf:1: section [VhostScsiA] has non-numeric suffix: write "
			    "[VhostScsi0], [VhostScsi1]..." },
	{ "[Malloc]\nLunSizeInMB big\n", "t.conf:2: LunSizeInMB: 'big' is not a decimal number" },
	{ "[Malloc]\nLunSizeInMB 0\n", "t.conf:2: LunSizeInMB: 0 is not within 1..8796093022207" },
	{ "[Scsi]\nMaxWriteSameLength 4294967296\n",
	  "t.conf:2: MaxWriteSameLength: 4294967296 is not within 0..4294967295" },
	{ "[VhostBlk0]\nCoalescingDelayUs 1000001\n",
	  "t.conf:2: CoalescingDelayUs: 1000001 is not within 0..1000000" },
	{ "[VhostBlk0]\nQueues 257\n", "t.conf:2: Queues: 257 is not within 1..256" },
	{ "[Global]\nReactorMask 0xz\n",
	  "t.conf:2: ReactorMask: '0xz' is no core mask; write it like 0x3 or [0-1]" },
	{ "[VhostBlk0]\nCpumask 0\n",
	  "t.conf:2: Cpumask: '0' is no core mask; write it like 0x3 or [0-1]" },
	{ "[Global]\nReactorMask [0-1024]\n",
	  "t.conf:2: ReactorMask: '[0-1024]' names a core beyond 1023" },
	{ "[VhostScsi0]\nName a\nDev Malloc0\n",
	  "t.conf:3: Dev has 1 value; it is written: Dev <target number 0..7> <bdev>" },
	{ "[VhostScsi0]\nName a\nDev 0 Malloc0 Malloc1\n",
	  "t.conf:3: Dev has 3 values; it is written: Dev <target number 0..7> <bdev>" },
	{ "[Null]\nDev Null0\n",
	  "t.conf:2: Dev has 1 value; it is written: Dev <name> <size in MiB> [<block size>]" },
	{ "[AIO]\nAIO /dev/sdb\n",
	  "t.conf:2: AIO has 1 value; it is written: AIO <file> <name> [<block size>]" },
	{ "[Nvme]\nRetryCount 4\nTransportID \"trtype:PCIe traddr:0:1:2.3\" Nvme0\n",
	  "t.conf:3: section [Nvme]: NVMe bdevs are not available in this version; remove "
	  "'TransportID' and what uses it" },
	{ "[Ceph]\nCeph rbd foo 512\n",
	  "t.conf:2: section [Ceph]: Ceph RBD bdevs are not available in "
	  "this version; remove 'Ceph' and what uses it" },
	{ "[VhostBlk0\nName a\n", "t.conf:1: the section header '[VhostBlk0' has no closing ']'" },
	{ "[ ]\n", "t.conf:1: the section header '[]' has no name" },
	{ "# nothing\n", "t.conf: no [section] in it: this is not a vhost configuration file" },
};

static void refusals_name_line_and_remedy(void **state)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct config *config = NULL;
		const char *reason = NULL;

		assert_true(config_parse("t.conf", refusals[i].text, strlen(refusals[i].text),
					 false, &config, &reason) < 0);
		assert_string_equal(reason, refusals[i].reason);
		assert_null(config);
	}
}

/* All sections of 17.07 with their keys, as far as they make no device that we cannot make. */
static const char everything[] =
	"[Global]\nComment \"a b\" c\nReactorMask 0x1\nTpointGroupMask 0x0\nSharedMemoryID 1\n"
	"InstanceID 0\nNoPci Yes\n"
	"[Rpc]\nEnable No\nListen 127.0.0.1\n"
	"[Ioat]\nDisable Yes\nWhitelist 00:04.0\nWhitelist 00:04.1\n"
	"[Scsi]\nMaxUnmapLbaCount 65536\nMaxUnmapBlockDescriptorCount 1\n"
	"OptimalUnmapGranularity 0\nUnmapGranularityAlignment 0\nUgavalid No\n"
	"MaxWriteSameLength 1024\n"
	"[Malloc]\nNumberOfLuns 3\nLunSizeInMB 128\nBlockSize 4096\n"
	"[Null]\nDev Null0 512 4096\n"
	"[AIO]\nAIO /dev/sdb AIO0\nAIO /dev/sdc AIO1 4096\n"
	"[Nvme]\nRetryCount 4\nNvmeRetryCount 4\nTimeout 0\nNvmeTimeoutValue 0\n"
	"ActionOnTimeout None\nResetControllerOnTimeout No\nAdminPollRate 100000\n"
	"HotplugEnable No\nHotplugPollRate 0\nHotplugPollCore 0\n"
	"[Ceph]\n[Split]\n[BdevError]\n"
	"[Gpt]\nDisable Yes\n"
	"[VhostScsi0]\nName vhost.0\nDev 0 Malloc0\nTarget 1 Malloc1\nCpumask 0x1\nQueues 4\n"
	"CoalescingDelayUs 50\nCoalescingIopsThreshold 60000\n"
	"LimitIosPerSec 5000\nLimitMbytesPerSec 100\n"
	"[VhostBlk0]\nName vhost.1\nDev Malloc2\nReadOnly no\nCpumask [0]\nSerial S\nQueues 8\n"
	"CoalescingDelayUs 0\nCoalescingIopsThreshold 0\n"
	"LimitIosPerSec 0\nLimitMbytesPerSec 0\n";

static void every_known_key_is_accepted(void **state)
{
	struct config *config = NULL;
	const char *reason = "";

	if (config_parse("t.conf", everything, strlen(everything), true, &config, &reason) < 0) {
		fail_msg("%s", reason);
	}
	config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refusals_name_line_and_remedy),
		cmocka_unit_test(every_known_key_is_accepted),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("config.schema", tests, NULL, NULL);
}
