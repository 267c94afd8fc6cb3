# What each of vzdump's own sentences tells of its run. A sentence that is not here is somebody
# else's, and is passed on as it is.
package Sentences;
use strict;
use warnings;
use Description;
use Progress;
use Words;

my @of_job = (
    [qr/^starting new backup job: vzdump(?: (.*))?$/, \&command_line],
    [qr/^skip external VMs: (.*)$/, sub { $_[0]->of_job('skipped', $_[1]) }],
    [qr/^Starting Backup of VM (\d+) \((\w+)\)$/, sub { $_[0]->begin_guest($_[1], $_[2]) }],
    [qr/^Backup job finished (?:successfully|with errors)$/, sub { $_[0]->at('over') }],
    [qr/^Backup job failed - /, sub { $_[0]->at('over') }],
    [qr/^notified via target `(.*)`$/, sub { $_[0]->since(8.1); $_[0]->of_job('notified', $_[1]) }],
    [qr/^could not notify via target `([^`]*)`: (.*)$/,
        sub { $_[0]->since(8.1); $_[0]->of_job('notify-fails', "$_[1] $_[2]") }],
);

my @of_guest = (
    [qr/^Backup started at (.*)$/, sub { $_[0]->since(6.0); $_[0]->at_time('started', $_[1]) }],
    [qr/^(?:Backup finished|Failed) at (.*)$/, \&ended],
    [qr/^status = (\w+)$/, sub { $_[0]->guest->{status} = $_[1] }],
    [qr/^update VM \d+: -lock backup$/, sub { $_[0]->until(6.0) }],
    [qr/^mode failure - some volumes/, sub { $_[0]->of_guest('no-snapshots') }],
    [qr/^trying 'suspend' mode instead$/, sub { $_[0]->guest->{asked} = 'snapshot' }],
    [qr/^backup mode: (\w+)$/, sub { $_[0]->guest->{mode} = $_[0]->guest->{asked} // $_[1] }],
    [qr{^bandwidth limit: (\d+) KiB/s$}, sub { $_[0]->of_job('bwlimit', $_[1]) }],
    [qr/^ionice priority: (\d+)$/, sub { $_[0]->of_job('ionice', $_[1]); $_[0]->at('assemble') }],
    [qr/^(?:VM|CT) Name: (.*)$/, sub { once($_[0], 'name', $_[1]) }],
    [qr/^include disk '(\S+)' '(\S+)'(?: (\S+))?$/, \&disk],
    [qr/^exclude disk '(\S+)' '(\S+)' \((.*)\)$/, sub { once($_[0], 'disk', "out @_[1 .. 3]") }],
    [qr/^including mount point (\S+) \('(.*)'\) in backup$/,
        sub { once($_[0], 'mount', "in @_[1, 2]") }],
    [qr/^excluding (\S+) mount point (\S+) \('(.*)'\) from backup \((.*)\)$/,
        sub { once($_[0], 'mount', "out @_[1 .. 4]") }],
    # These are the last words of a log that was cut.
    [qr/^snapshots found \(not in/, sub { $_[0]->of_guest('remark', 'snapshots') }],
    [qr/^pending configuration changes found \(not in/,
        sub { $_[0]->of_guest('remark', 'pending') }],
    [qr/^special config section found \(not in/, sub { $_[0]->of_guest('remark', 'special') }],
    [qr/^skip unused drive '(\S+)' \(not in/, sub { $_[0]->of_guest('remark', $_[1]) }],
    [qr/^stopping virtual guest$/, sub { }],
    [qr/^create storage snapshot 'vzdump'$/, sub { $_[0]->at('snapshot') }],
    [qr/^cleanup temporary 'vzdump' snapshot$/, \&snapshot_removed],
    [qr/^temporary directory is on NFS/, sub { $_[0]->of_guest('on-nfs') }],
    [qr{^starting first sync /proc/(\d+)/root/ to (.*)$}, \&first_sync],
    [qr/^creating (|vzdump |Proxmox Backup Server )archive '(.*)'$/, \&archive],
    [qr/^sending archive to stdout$/, sub { $_[0]->of_job('stdout'); $_[0]->at('started') }],
    [qr/^starting kvm to execute backup task$/, sub { $_[0]->at('kvm') }],
    [qr/^attaching TPM drive to QEMU for backup$/, sub { $_[0]->of_guest('tpm') }],
    [qr/^issuing guest-agent 'fs-freeze' command$/, sub { $_[0]->of_guest('freeze', 'done') }],
    [qr/^issuing guest-agent 'fs-thaw' command$/, sub { $_[0]->at('qmp') }],
    [qr/^skipping guest filesystem freeze - (\w+)/, sub { $_[0]->since(9.1); frozen(@_) }],
    [qr/^skipping guest-agent 'fs-freeze', (\w+)/, \&frozen],
    [qr/^starting backup via QMP command$/, sub { $_[0]->since(9.1); $_[0]->at('qmp') }],
    [qr/^started backup task '(.*)'$/, sub { $_[0]->of_guest('uuid', $_[1]); $_[0]->at('copied') }],
    [qr/^resuming VM again$/, sub { $_[0]->since(6.2) }],
    [qr/^(\S+): dirty-bitmap status: (.*)$/, \&bitmap],
    [qr/^using fast incremental mode \(dirty-bitmap\), (.*) dirty of (.*) total$/,
        sub { @{ $_[0]->guest }{qw(dirty total)} = @_[1, 2] }],
    [qr/^ *(\d+)% \((.*) of (.*)\) in (.*), read: (.*), write: (.*)$/, \&look],
    [qr/^ *(\d+)% \((.*) of (.*)\) in (.*), read: ?([\d.]*)$/, \&look],
    [qr{^status: \d+% \((\d+)/(\d+)\), sparse \d+% \((\d+)\), duration (\d+), read/write },
        \&look_before_6_2],
    [qr/^backup is sparse: (.*) \((\d+)%\) total zero data$/,
        sub { $_[0]->guest->{zero} = [@_[1, 2]] }],
    [qr/^backup was done incrementally, reused (.*) \((\d+)%\)$/,
        sub { $_[0]->guest->{reused} = [@_[1, 2]] }],
    [qr/^transferred (.*) in (\d+) seconds \((.*)\)$/, \&transferred],
    [qr{^run: .* pct\.conf:(\S+)/etc/vzdump.* --backup-time (\d+) --repository (\S+)$}, \&client],
    [qr/^aborting backup job$/, \&aborted],
    [qr/^stopping kvm after backup task$/, \&stopped],
    [qr/^archive file size: ([\d.]+)([KMGT])B$/, \&size],
    [qr/^adding notes to backup$/, sub { $_[0]->of_job('notes', 'x'); $_[0]->at('written') }],
    [qr/^marking backup as protected$/, sub { $_[0]->of_job('protected') }],
    [qr/^prune older backups with retention: (.*)$/, \&prune],
    [qr{^running 'proxmox-backup-client prune' for '}, sub { $_[0]->of_job('pbs') }],
    [qr/^(?:removing|delete old) backup '(.*)'$/, \&removed],
    [qr/^pruned \d+ backup\(s\)/, sub { $_[0]->at('prune') }],
    [qr/^restarting vm$/, sub { }],
    [qr/^guest is online again after (<?\d+) seconds$/, \&online],
    [qr/^Finished Backup of VM (\d+) \((\d+):(\d+):(\d+)\)$/, \&finished],
    [qr/^HOOK: (\S+) (.*)$/, \&hook],
);

sub understand {
    my ($heard, $level, $text, $is_cut) = @_;
    if ($level eq 'ERROR') {
        return failed($heard, $1, $2, $is_cut) if $text =~ /^Backup of VM (\d+) failed - (.*)$/;
        my $guest = $heard->{guest};
        if ($heard->{is_in_error}) {
            $guest->{error} .= "\n$text";
            return;
        }
        if ($text !~ /^(could not notify|Backup job failed)/) {
            $heard->guest->{cause} = [$text, $heard->{step}];
            return;
        }
    }
    $heard->{is_in_error} = 0;
    for my $sentence (@of_job, @of_guest) {
        my ($pattern, $do) = @$sentence;
        if (my @parts = $text =~ $pattern) {
            # A pattern without groups gives a 1.
            $do->($heard, defined $1 || @parts > 1 ? @parts : ());
            return;
        }
    }
    $heard->happens('child', $text) if !$is_cut;
    return;
}

# A container in mode `suspend` says these twice.
sub once {
    my ($heard, $key, $value) = @_;
    my $is_known = grep { $_ eq "$key $value" } @{ $heard->guest->{keys} };
    $heard->of_guest($key, $value) if !$is_known;
    $heard->{step} = 'prepare' if $heard->{step} eq 'lock';
}

sub command_line {
    my ($heard, $words) = @_;
    my @words;
    push @words, $1 while ($words // '') =~ /((?:[^\s']|'[^']*')+)/g;
    my @vmids;
    push @vmids, shift @words while @words && $words[0] =~ /^\d+$/;
    $heard->of_job('vmids', join(' ', @vmids));
    while (@words) {
        my ($name, $value) = (shift(@words) =~ s/^--//r, shift @words);
        my $plain = $value =~ s/^'(.*)'$/$1/r;
        # What is not quoted though it should be was put in by somebody.
        my $is_bare = Words::quoted($plain) ne $value;
        $heard->of_job('option', ($is_bare ? "=$name $value" : "$name $plain"));
        $heard->of_job('storage', $value) if $name eq 'storage';
    }
}

sub disk {
    my ($heard, $key, $volume, $size) = @_;
    $heard->of_guest('disk', join(' ', 'in', $key, $volume, grep { defined } $size));
    push @{ $heard->guest->{disks} }, $size // '';
    $heard->at('prepare');
}

sub snapshot_removed {
    my ($heard) = @_;
    $heard->since(6.3);
    my $guest = $heard->guest;
    # It had been made, whatever was in the way then.
    $guest->{work} = 'mount' if !$guest->{archive};
    $heard->at('cleanup');
}

sub first_sync {
    my ($heard, $pid, $to) = @_;
    $heard->of_guest('init-pid', $pid);
    $heard->at_time('stamp', $1) if $to =~ /-(\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d)\.tmp$/;
    $heard->of_job('dumpdir', $1) if $to =~ m{^(.*)/[^/]+\.tmp$};
    $heard->at($heard->guest->{work} = 'sync');
}

sub archive {
    my ($heard, $sort, $target) = @_;
    my $guest = $heard->guest;
    $sort eq '' ? $heard->until(6.1) : $heard->since(6.2);
    $heard->of_job('pbs') if $sort =~ /Backup Server/;
    my $stamp = qr/\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d/;
    if ($target =~ m{^(.*)/vzdump-\w+-\d+-($stamp)\.(?:vma|tar)(?:\.(\w+))?$}) {
        $heard->of_job('dumpdir', $1);
        $heard->of_job('compress', $3 // '0');
        $heard->at_time('stamp', $2);
    } elsif ($target =~ m{/(\d{4}-\d\d-\d\dT[\d:]+)Z$}) {
        $heard->at_time('utc', $1);
    }
    $guest->{archive} = $target;
    $heard->at($guest->{work} = $guest->{type} eq 'lxc' ? 'copied' : 'qmp');
}

sub frozen {
    my ($heard, $why) = @_;
    my %how = (agent => 'silent', disabled => 'disabled', already => 'frozen');
    $heard->of_guest('freeze', $how{$why});
}

sub bitmap {
    my ($heard, $drive, $words) = @_;
    my %state = (
        'created new' => 'new',
        'OK (drive clean)' => 'clean',
        'existing bitmap was invalid and has been cleared' => 'invalid',
        'disabled (no support)' => 'unsupported',
        'expected bitmap was missing and has been recreated' => 'missing',
    );
    my ($dirty, $size) = $words =~ /^OK \((.*) of (.*) dirty\)$/;
    push @{ $heard->guest->{bitmaps} }, [$drive, $state{$words} // 'dirty', $dirty, $size];
}

sub look {
    my ($heard, $percent, $copied, $target, $duration, $read, $written) = @_;
    $heard->since(6.2);
    $heard->until(6.3) if $duration =~ /^ |  /;
    $heard->since(6.4) if $duration =~ /^\ds|m \ds/;
    my $second = 0;
    my %seconds = (h => 3600, m => 60, s => 1);
    $second += $1 * $seconds{$2} while $duration =~ /(\d+)([hms])/g;
    push @{ $heard->guest->{looks} }, {
        percent => $percent, copied => $copied, target => $target, second => $second,
        defined $written ? (read => $read, written => $written) : (read_begins => $read),
    };
    $heard->at('copied');
}

sub look_before_6_2 {
    my ($heard, $copied, $target, $zero, $second) = @_;
    $heard->until(6.1);
    push @{ $heard->guest->{exact} }, "looks progress $second $copied $zero", "target $target";
}

sub transferred {
    my ($heard, $copied, $seconds, $rate) = @_;
    my $guest = $heard->guest;
    if ($copied =~ /^(\d+) MB$/) {
        $heard->until(6.1);
        $guest->{end} = { megabytes => $1, seconds => $seconds };
        return;
    }
    $heard->since(6.2);
    # Numbers that looked like a guest's were changed: what was too long for it, by a thousand.
    my $fits = sub {
        Progress::both(Progress::range($copied), Progress::rate($rate, $_[0]))
    };
    if (!$fits->($seconds) && $seconds > 1000 && $fits->($seconds % 1000)) {
        $heard->repair("in $seconds seconds", 'in ' . $seconds % 1000 . ' seconds');
        $seconds %= 1000;
    }
    $guest->{end} = { copied => $copied, seconds => $seconds, rate => $rate };
}

sub client {
    my ($heard, $tmpdir, $time, $repository) = @_;
    $heard->of_guest('client', "$time $repository");
    $heard->of_guest('tmpdir', $tmpdir);
}

sub aborted {
    my ($heard) = @_;
    my $cause = $heard->guest->{cause};
    # It had begun to copy, even if the log was cut in between.
    $cause->[1] = 'copied' if $cause && $cause->[1] !~ /^(kvm|qmp|copied)$/;
    $heard->at('abort');
}

sub stopped {
    my ($heard) = @_;
    $heard->guest->{status} = 'stopped';
    $heard->at('stop');
}

my %power = (K => 10, M => 20, G => 30, T => 40);

sub size {
    my ($heard, $number, $unit) = @_;
    my $half = $unit =~ /[KM]/ ? 0.5 : 0;
    $heard->of_guest('size', int(($number + $half) * 2**$power{$unit}));
    $heard->at('written');
}

sub hook {
    my ($heard, $phase, $rest) = @_;
    $heard->of_job('script', '/hook') if !$heard->{has_hook}++;
    $heard->at("hook $phase");
    $heard->happens('hook', "HOOK: $phase $rest");
}

sub ended {
    my ($heard, $at) = @_;
    $heard->at_time('ended', $at);
    $heard->{guest} = undef;
}

sub prune {
    my ($heard, $rules) = @_;
    $heard->since(7.0);
    $heard->of_job('prune', $rules =~ s/, /,/gr);
    $heard->at('prune');
}

sub removed {
    my ($heard, $archive) = @_;
    $heard->of_guest('removed', $archive);
    # Before 7.0 it was not told what was to be kept.
    $heard->of_job('prune', 'keep-last=1') if $heard->{step} ne 'prune';
    $heard->at('prune');
}

sub online {
    my ($heard, $seconds) = @_;
    my $guest = $heard->guest;
    $guest->{offline} = $seconds eq '<1' ? 0 : $seconds;
    $guest->{line_of}{online} = $heard->{line} - $guest->{first};
}

sub finished {
    my ($heard, $vmid, $h, $m, $s) = @_;
    my $guest = $heard->guest;
    $guest->{vmid} //= $vmid;
    $guest->{took} = $h * 3600 + $m * 60 + $s;
    $guest->{line_of}{verdict} = $heard->{line} - $guest->{first};
}

sub failed {
    my ($heard, $vmid, $error, $is_cut) = @_;
    my $guest = $heard->{guest};
    if (!$guest) {
        # Nothing was heard of it before: it failed before its own log was opened.
        $heard->begin_guest($vmid, 'qemu');
        $guest = $heard->{guest};
        $guest->{work} = 'begin';
        if ($error =~ m{^command 'rsync .*/proc/(\d+)/root//\./ (\S+)' failed}) {
            @{$guest}{qw(type work mode)} = qw(lxc sync suspend);
            $heard->of_guest('init-pid', $1);
            $heard->of_guest('tmpdir', $2);
        }
    }
    $guest->{vmid} //= $vmid;
    $guest->{work} //= 'qmp' if $error =~ /qmp command/;
    my $failed_at = $guest->{work} // $heard->{step};
    @{$guest}{qw(error failed_at)} = ($error, $failed_at);
    $guest->{line_of}{verdict} = $heard->{line} - $guest->{first};
    $heard->{is_in_error} = 1;
    # It is the cause that is repeated; a cut one may have been changed in one place alone.
    my $cause = $guest->{cause} ? $guest->{cause}[0] : $error;
    if ($is_cut && index($cause, $error) != 0) {
        $heard->repair("failed - $error", 'failed - ' . substr($cause, 0, length $error));
    }
}

1;
