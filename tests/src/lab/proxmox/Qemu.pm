# What is particular about the backup of a virtual machine: QEMU copies its disks itself, and
# vzdump asks it how far it is.
package Qemu;
use strict;
use warnings;
use Child;
use Words;

my %bitmap = (
    new => 'created new',
    clean => 'OK (drive clean)',
    invalid => 'existing bitmap was invalid and has been cleared',
    unsupported => 'disabled (no support)',
    missing => 'expected bitmap was missing and has been recreated',
);

sub prepare {
    my ($self) = @_;
    my ($guest, $log) = @{$self}{qw(guest log)};
    $log->info('VM Name: ' . $guest->one('name')) if $guest->has('name');
    my $vmid = $guest->{vmid};
    my @disks = $guest->all('disk');
    @disks = "in scsi0 local-lvm:vm-$vmid-disk-0 1G" if !@disks;
    for my $disk (@disks) {
        if (my ($key, $volume, $size) = $disk =~ /^in (\S+) (\S+)(?: (\S+))?$/) {
            $log->info("include disk '$key' '$volume'" . (defined $size ? " $size" : ''));
        } elsif (my ($out, $of, $why) = $disk =~ /^out (\S+) (\S+) (.*)$/) {
            $log->info("exclude disk '$out' '$of' ($why)");
        }
    }
    $self->step('prepare');
}

sub snapshot { $_[0]->step('snapshot') }

sub sync { return 0 }

sub undo_snapshot {
    my ($self) = @_;
    my ($guest, $log) = @{$self}{qw(guest log)};
    if ($guest->has('fleecing-left')) {
        $log->tell('WARN', 'attempt to clean up fleecing images failed - '
            . $guest->one('fleecing-left'));
    }
    $self->step('cleanup');
}

# QEMU starts a machine that was stopped for its backup, and vzdump lets it run.
sub runs_again { return 1 }

sub assemble {
    my ($self) = @_;
    for my $remark ($self->{guest}->all('remark')) {
        my %words = (
            special => 'special config section found',
            snapshots => 'snapshots found',
            pending => 'pending configuration changes found',
        );
        my $words = $words{$remark} || "skip unused drive '$remark'";
        $self->{log}->info("$words (not included into backup)");
    }
    $self->step('assemble');
}

sub archive {
    my ($self) = @_;
    my ($job, $log, $dump) = @{$self}{qw(job log dump)};
    eval {
        if (!$self->is_running || $self->{mode} eq 'stop') {
            $log->info('starting kvm to execute backup task');
            $self->step('kvm');
        }
        $log->info('attaching TPM drive to QEMU for backup') if $self->{guest}->has('tpm');
        $self->prepare_fleecing;
        # The compressor is a child that lives as long as the archive is written.
        Child::says($log) if $dump->is_compressed;
        my $is_frozen = $self->freeze;
        $log->info('starting backup via QMP command') if $log->since(9.1);
        $self->thaw if $is_frozen;
        $self->step('qmp');
        my $uuid = $self->{guest}->one('uuid', 'f2cc3e6e-fd70-4339-a911-35951eaa63ed');
        $log->info("started backup task '$uuid'");
        $dump->write;
        $self->resume;
        $self->step('started');
        $self->copy;
    };
    my $error = $@;
    if ($error) {
        my $is_own = $error eq "interrupted by signal\n";
        $log->tell('ERROR', $error, origin => $is_own ? 'own' : 'error');
        $log->info('aborting backup job');
        $self->step('abort');
        $self->resume;
    }
    if (!$self->is_running) {
        $log->info('stopping kvm after backup task');
        $self->step('stop');
    }
    die $error if $error;
    $self->step('compress');
}

sub prepare_fleecing {
    my ($self) = @_;
    my ($job, $guest, $log) = @{$self}{qw(job guest log)};
    my $storage = $job->one('fleecing') or return;
    if ($guest->has('fleecing-unsupported')) {
        return $log->tell('WARN',
            'running QEMU version does not support backup fleecing - continuing without');
    }
    my $number = 0;
    for my $disk ($guest->has('disk') ? $guest->all('disk') : 'in scsi0 x') {
        my ($key) = $disk =~ /^in (\S+)/ or next;
        my $volume = "$storage:vm-$guest->{vmid}-fleece-" . $number++;
        $log->info("drive-$key: attaching fleecing image $volume to QEMU");
    }
}

# Returns whether it has to be thawed again.
sub freeze {
    my ($self) = @_;
    my ($guest, $log) = @{$self}{qw(guest log)};
    my $how = $guest->one('freeze', 'none');
    return 0 if $how eq 'none' || $self->{mode} eq 'stop' || !$self->is_running;
    my %why = (
        silent => 'agent configured but not running?',
        disabled => 'disabled in VM options',
        frozen => 'already frozen',
    );
    if (my $why = $why{$how}) {
        $log->info($log->since(9.1) ? "skipping guest filesystem freeze - $why"
            : "skipping guest-agent 'fs-freeze', $why");
        return 0;
    }
    $log->info("issuing guest-agent 'fs-freeze' command");
    if ($guest->has('freeze-error')) {
        $log->tell('ERROR', $guest->one('freeze-error'), origin => 'error');
    }
    return 1;
}

sub thaw {
    my ($self) = @_;
    my ($guest, $log) = @{$self}{qw(guest log)};
    $log->info("issuing guest-agent 'fs-thaw' command");
    $log->tell('ERROR', $guest->one('thaw-error'), origin => 'error') if $guest->has('thaw-error');
}

sub resume {
    my ($self) = @_;
    my $log = $self->{log};
    return if !$self->is_running || !$log->since(6.2);
    if (my $halted_at = delete $self->{halted_at}) {
        $log->info('resuming VM again after ' . ($log->now - $halted_at) . ' seconds');
    } else {
        $log->info('resuming VM again');
    }
}

# A gibibyte in twenty looks, for a description that says nothing of it.
sub looks {
    my ($self) = @_;
    my $guest = $self->{guest};
    my @given = map { [split / /] } $guest->all('looks');
    return @given if @given || $guest->has('end');
    return map { ['progress', $_, int(($_ << 30) / 20), 0] } 1 .. 20;
}

# As QEMU is asked how far it is: each look is told with its rates since the one before.
sub copy {
    my ($self) = @_;
    my ($job, $guest, $log) = @{$self}{qw(job guest log)};
    my $target = $guest->one('target', 1 << 30);
    my $total = $guest->one('total', $target);
    my $skipped_before = $self->say_bitmaps($target, $total);
    my ($second_before, $copied_before) = (0, 0);
    for my $look ($self->looks) {
        my ($what, $second, $copied, $skipped) = @$look;
        my $seconds = $second - $second_before || 1;
        my $read = $copied - $copied_before;
        my $written = $read - ($skipped - $skipped_before);
        my $percent = $target ? int($copied * 100 / $target) : 100;
        if ($what eq 'progress') {
            $log->info($self->progress($percent, $copied, $target, $second, $seconds, $read,
                $written, $skipped));
        }
        ($second_before, $copied_before, $skipped_before) = ($second, $copied, $skipped);
    }
    $self->step('copied');
    my ($seconds, $copied, $zero, $reused) =
        split / /, $guest->one('end', "$second_before $copied_before 0 0");
    if (!$log->since(6.2)) {
        my $megabytes = Words::megabytes($copied);
        my $speed = int($megabytes / ($seconds || 1));
        return $log->info("transferred $megabytes MB in $seconds seconds ($speed MB/s)");
    }
    if ($zero) {
        my $percent = int($zero * 100 / $target);
        $log->info('backup is sparse: ' . Words::bytes($zero, 2) . " ($percent%) total zero data");
    }
    if ($reused) {
        my $percent = int($reused * 100 / $total);
        $log->info('backup was done incrementally, reused ' . Words::bytes($reused, 2)
            . " ($percent%)");
    }
    if ($copied) {
        my $how = $seconds ? "$seconds seconds (" . Words::rate($copied, $seconds) . ')'
            : '<1 seconds';
        $log->info('transferred ' . Words::bytes($copied, 2) . " in $how");
    }
}

# What is in the archive of the last time already. Returns what need not be read because of that.
sub say_bitmaps {
    my ($self, $target, $total) = @_;
    my ($guest, $log) = @{$self}{qw(guest log)};
    return 0 if !$self->{job}->has('pbs');
    for my $bitmap ($guest->has('bitmap') ? $guest->all('bitmap') : 'scsi0 new') {
        my ($drive, $state, $dirty, $size) = split / /, $bitmap;
        my $words = $bitmap{$state}
            || 'OK (' . Words::bytes($dirty, 1) . ' of ' . Words::bytes($size, 1) . ' dirty)';
        $log->info("$drive: dirty-bitmap status: $words");
    }
    if ($target < $total) {
        $log->info('using fast incremental mode (dirty-bitmap), ' . Words::bytes($target, 1)
            . ' dirty of ' . Words::bytes($total, 1) . ' total');
    }
    return $total - $target;
}

sub progress {
    my ($self, $percent, $copied, $target, $second, $seconds, $read, $written, $zero) = @_;
    my $log = $self->{log};
    if (!$log->since(6.2)) {
        my ($r, $w) = map { int(Words::megabytes($_) / $seconds) } $read, $written;
        my $sparse = int($zero * 100 / $target);
        return "status: $percent% ($copied/$target), sparse $sparse% ($zero), duration $second, "
            . "read/write $r/$w MB/s";
    }
    return sprintf('%3d%% (%s of %s) in %s, read: %s, write: %s', $percent,
        Words::bytes($copied, 1), Words::bytes($target, 1),
        Words::duration($second, $log->{version}), Words::rate($read, $seconds),
        Words::rate($written, $seconds));
}

sub command_that_failed {
    my ($self, $code) = @_;
    return "zstd failed - wrong exit status $code\n";
}

1;
