# One guest's backup, in the order in which Proxmox does it: what is common to machines and
# containers. Those two have words and steps of their own (`Qemu`, `Lxc`).
package Guest;
use strict;
use warnings;
use POSIX qw(strftime);
use Child;
use Dump;
use Lxc;
use Qemu;
use Words;

my $logs = '/var/log/vzdump';

sub new {
    my ($class, $job, $guest, $log) = @_;
    my $type = $guest->{type} eq 'lxc' ? 'Lxc' : 'Qemu';
    return bless { job => $job, guest => $guest, log => $log, mode => '' }, $type;
}

sub is_running { return $_[0]{guest}->one('status', 'running') eq 'running' }

# Does the description's deeds for a step.
sub step {
    my ($self, $step) = @_;
    my $log = $self->{log};
    my @happens = @{ $self->{guest}{happens}{$step} || [] };
    while (my $it = shift @happens) {
        my ($deed, $text) = @$it;
        if ($deed eq 'child') {
            my @lines = ($text);
            push @lines, (shift @happens)->[1] while @happens && $happens[0][0] eq 'child';
            Child::says($log, @lines);
        }
        $log->raw($text) if $deed eq 'raw';
        $log->tell('WARN', $text) if $deed eq 'warns';
        die "$text\n" if $deed eq 'fails';
        die $self->command_that_failed($text) if $deed eq 'exits';
        if ($deed eq 'hold') {
            select(undef, undef, undef, 0.05) until -e $text;
        }
        if ($deed eq 'interrupt') {
            die "interrupted by signal\n" if $log->is_dry;
            kill 'TERM', $$;
            select(undef, undef, undef, 60);
        }
        kill 'KILL', $$ if $deed eq 'dies';
    }
}

sub hook {
    my ($self, $phase) = @_;
    Child::hook($self->{job}, $self->{guest}, $self->{log}, $phase, $self->{mode});
}

# Returns whether it went well.
sub back_up {
    my ($self) = @_;
    my ($job, $guest, $log) = @{$self}{qw(job guest log)};
    my ($vmid, $type) = @{$guest}{qw(vmid type)};
    $log->begin_guest($guest);
    my $began = $log->now;
    my $dump = $self->{dump} =
        Dump->new($job, $guest, $log, $guest->one('backup-time', $began));
    eval { $self->make($dump); };
    my $error = $@;
    $self->clean_up;
    $dump->remove_unfinished;
    if ($error) {
        chomp $error;
        $log->tell('ERROR', "Backup of VM $vmid failed - $error");
        $log->task('Failed at ' . Words::clock($log->now)) if $log->since(6.0);
        eval { $self->hook('backup-abort') };
        $log->tell('WARN', $@) if $@;
    } else {
        my $took = $log->now - $began;
        $log->info("Finished Backup of VM $vmid (" . Words::took($took) . ')');
        $log->task('Backup finished at ' . Words::clock($log->now)) if $log->since(6.0);
    }
    $log->close_guest;
    $dump->copy_log("$logs/$type-$vmid.log", !$error) if $self->{has_log};
    eval { $self->hook('log-end') };
    $log->tell('WARN', $@) if $@;
    die "$error\n" if $error eq 'interrupted by signal';
    return $error eq '';
}

sub make {
    my ($self, $dump) = @_;
    my ($job, $guest, $log) = @{$self}{qw(job guest log)};
    my ($vmid, $type) = @{$guest}{qw(vmid type)};
    # An unknown guest, too many archives, no room for temporary files: the old log stays.
    $self->step('begin');
    $dump->begin;
    $log->open_guest("$logs/$type-$vmid.log");
    $self->{has_log} = 1;
    $log->info("Starting Backup of VM $vmid ($type)");
    $log->task('Backup started at ' . Words::clock($log->now)) if $log->since(6.0);
    $log->info('status = ' . ($self->is_running ? 'running' : 'stopped'));
    $log->info("update VM $vmid: -lock backup") if !$log->since(6.1) && $type eq 'qemu';
    $self->step('lock');
    my $mode = $self->is_running ? $guest->one('mode', 'snapshot') : 'stop';
    $self->{mode} = $mode;
    if ($mode eq 'snapshot') {
        $self->prepare;
        if ($guest->has('no-snapshots')) {
            $log->info('mode failure - some volumes do not support snapshots');
            $log->info("trying 'suspend' mode instead");
            $mode = $self->{mode} = 'suspend';
        }
    }
    $self->{is_prepared} = 1;
    $log->info("backup mode: $mode");
    my $limit = $job->one('bwlimit', 0);
    $log->info("bandwidth limit: $limit KiB/s") if $limit;
    $log->info('ionice priority: ' . $job->one('ionice', 7));
    $self->prepare if $mode ne 'snapshot';
    $self->hook('backup-start');
    $self->halt($mode);
    $self->assemble;
    if ($job->has('stdout')) {
        $log->info('sending archive to stdout');
        $self->archive;
        return $self->hook('backup-end');
    }
    my $sort = !$log->since(6.2) ? '' : $job->has('pbs') ? 'Proxmox Backup Server ' : 'vzdump ';
    $log->info("creating ${sort}archive '$dump->{target}'");
    $self->archive;
    $dump->finish;
    $self->step('written');
    $dump->annotate;
    $self->step('prune');
    $dump->prune;
    $self->hook('backup-end');
    $self->step('verdict');
}

# Brings the guest into a state in which it can be copied.
sub halt {
    my ($self, $mode) = @_;
    my $log = $self->{log};
    if ($mode eq 'stop' && $self->is_running) {
        $log->info('stopping virtual guest');
        $self->{halted_at} = $log->now;
        $self->hook('pre-stop');
        $self->{undo} = 'restart';
    } elsif ($mode eq 'suspend') {
        $self->sync('first');
        $log->info('suspending guest');
        $self->{halted_at} = $log->now;
        $self->hook('pre-stop');
        $self->{undo} = 'resume';
        if ($self->sync('final')) {
            $log->info('resuming guest');
            $self->{undo} = '';
            $self->hook('pre-restart');
            $self->hook('post-restart');
            $self->say_online_again;
        }
    } elsif ($mode eq 'snapshot') {
        $self->hook('pre-stop');
        $self->snapshot;
        $self->hook('pre-restart');
        $self->hook('post-restart');
    }
}

sub say_online_again {
    my ($self) = @_;
    my $halted_at = delete $self->{halted_at} or return;
    my $seconds = $self->{log}->now - $halted_at;
    $seconds = '<1' if $seconds < 1;
    my $what = $self->{log}->since(6.0) ? 'guest' : 'vm';
    $self->{log}->info("$what is online again after $seconds seconds");
}

sub clean_up {
    my ($self) = @_;
    $self->undo_snapshot if $self->{is_prepared};
    my $undo = delete $self->{undo} or return;
    $self->hook('pre-restart');
    if ($undo eq 'resume') {
        $self->{log}->info('resume vm');
    } elsif (!$self->runs_again) {
        $self->{log}->info('restarting vm');
    }
    $self->hook('post-restart');
    $self->say_online_again;
}

@Qemu::ISA = ('Guest');
@Lxc::ISA = ('Guest');

1;
